"""Preference pairs as ids: joined segment by segment, ended only where the text ends, nothing lost without a count."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from data_prep.artefacts import write_artefact
from data_prep.rows import RowError
from rl.preferences import Preferences, TokenisedDpoTrainer, end_of_turn, ends, read_preferences
from tests.rl.ppm.conftest import SHIPPED

TOKENIZER = AutoTokenizer.from_pretrained(SHIPPED)
END = end_of_turn(TOKENIZER)


def response(problem: int, sample: int, verdict: str, **more: Any) -> dict[str, Any]:
    return {
        "problem_id": f"p1-{problem}", "sample": sample, "model": "m", "prompt_format": "chat template",
        "response": f"<think>\n{sample} {verdict}\n</think>\n\nThe answer is \\boxed{{{sample}}}.",
        "finish_reason": "stop", "n_tokens": 9, "verdict": verdict, "problem": f"What is {problem} + 1?",
        "answer": "3", **more,
    }  # fmt: skip


def read(rows: list[dict[str, Any]], folder: Path, kind: str = "response", **more: Any) -> Preferences:
    write_artefact(folder, kind, rows, stage="test", config={}, seed=0, inputs={})
    options = {"instruction": "", "max_length": 512, "per_problem": 2, "eval_share": 0.0, "seed": 0, **more}
    return read_preferences([str(folder)], TOKENIZER, **options)


def texts(pairs: Preferences, name: str) -> list[str]:
    return [TOKENIZER.decode(row[name]) for row in pairs.train]


def test_right_and_wrong_responses_of_a_problem_are_pairs(tmp_path: Path) -> None:
    verdicts = {0: "rrw", 1: "rr", 2: "ww", 3: "rwwww", 4: "ru"}
    names = {"r": "right", "w": "wrong", "u": "unverifiable"}
    rows = [response(p, i, names[v]) for p, own in verdicts.items() for i, v in enumerate(own)]
    pairs = read(rows, tmp_path / "r")
    assert len(pairs.train) == 4
    assert all("right" in text for text in texts(pairs, "chosen_ids"))
    assert all("wrong" in text for text in texts(pairs, "rejected_ids"))
    assert len(set(texts(pairs, "rejected_ids"))) == 3  # of problem 3 two different ones
    assert pairs.dropped == {
        "of a problem with no right response": 2, "of a problem with no wrong response": 3, "neither right nor wrong": 1
    }  # fmt: skip
    assert pairs.n_read == len(rows)
    assert pairs.problem_ids == {"p1-0", "p1-3"}


def test_ids_are_those_of_the_conversation(tmp_path: Path) -> None:
    row = read([response(0, 0, "right"), response(0, 1, "wrong")], tmp_path / "r", per_problem=1).train[0]
    for name, sample, verdict in (("chosen_ids", 0, "right"), ("rejected_ids", 1, "wrong")):
        turns = [
            {"role": "user", "content": "What is 0 + 1?"},
            {"role": "assistant", "content": response(0, sample, verdict)["response"]},
        ]
        whole = TOKENIZER.apply_chat_template(turns, return_dict=False)
        n = len(row["prompt_ids"]) + len(row[name])
        assert row["prompt_ids"] + row[name] == whole[:n]
        assert TOKENIZER.decode(whole[n:]).strip() == ""


def test_a_response_that_was_cut_does_not_end(tmp_path: Path) -> None:
    rows = [response(0, 0, "right"), response(0, 1, "wrong", finish_reason="length")]
    row = read(rows, tmp_path / "r", per_problem=1).train[0]
    assert row["chosen_ids"][-1:] == END
    assert row["rejected_ids"][-1:] != END


def pair(**more: Any) -> dict[str, Any]:
    return {
        "pair_group": "g", "kind": "step", "problem_id": "p1-0", "prompt": "<|im_start|>user\nWhat?<|im_end|>\n",
        "prefix": ["<code>\n# a\n<end_of_step>"], "chosen": ["\nx = 1\n<end_of_step>"],
        "rejected": ["\nx = 2\n<end_of_step>"], "n_pos": 1, "n_neg": 1, **more,
    }  # fmt: skip


def test_steps_stand_behind_their_prefix_and_do_not_end(tmp_path: Path) -> None:
    row = read([pair()], tmp_path / "s", "step_pair").train[0]
    ids = lambda text: TOKENIZER(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    assert row["prompt_ids"] == ids(pair()["prompt"]) + ids(pair()["prefix"][0])
    assert row["chosen_ids"] == ids(pair()["chosen"][0])


def test_a_step_that_answers_ends_and_so_does_a_solution(tmp_path: Path) -> None:
    answer = ["\n<answer>The answer is \\boxed{1}.<end_of_answer>"]
    row = read([pair(chosen=answer)], tmp_path / "a", "step_pair").train[0]
    assert row["chosen_ids"][-1:] == END
    assert row["rejected_ids"][-1:] != END
    row = read([pair(kind="final")], tmp_path / "b", "step_pair").train[0]
    assert row["chosen_ids"][-1:] == row["rejected_ids"][-1:] == END


@pytest.mark.parametrize(
    ("solution", "last", "expected"),
    [
        ("<think>\na\n\n", "a\n\n", False), ("<think>\na \\boxed{3}?\n\n", "a \\boxed{3}?\n\n", False),
        ("<think>\na\n</think>\n\n\\boxed{3}", "\n</think>\n\n\\boxed{3}", True),
        ("First, x.\n\nSo \\boxed{3}.", "So \\boxed{3}.", True), ("First, x.\n\n", "First, x.\n\n", False),
        ("<code>\nprint('\\boxed{3}')\n<end_of_step>", "print('\\boxed{3}')\n<end_of_step>", False),
    ],
)  # fmt: skip
def test_where_a_text_ends(solution: str, last: str, expected: bool) -> None:
    assert ends(solution, last) == expected


def test_what_is_too_long_or_equal_is_counted(tmp_path: Path) -> None:
    rows = [pair(), pair(pair_group="h", rejected=["\ny\n" * 300]), pair(pair_group="i", rejected=pair()["chosen"])]
    pairs = read(rows, tmp_path / "s", "step_pair", max_length=200)
    assert len(pairs.train) == 1
    assert pairs.dropped == {"longer than 200 tokens": 1, "both are the same": 1}


def test_held_out_problems_are_whole(tmp_path: Path) -> None:
    rows = [response(p, i, v) for p in range(40) for i, v in enumerate(("right", "wrong"))]
    pairs = read(rows, tmp_path / "r", eval_share=0.25)
    assert pairs.held_out is not None
    assert len(pairs.train) + len(pairs.held_out) == 40
    assert len(pairs.train) == len(pairs.problem_ids)
    prompts = [{tuple(row["prompt_ids"]) for row in own} for own in (pairs.train, pairs.held_out)]
    assert not prompts[0] & prompts[1]


def test_rows_without_the_problem_or_without_pairs_are_one_line(tmp_path: Path) -> None:
    row = response(0, 0, "right")
    del row["problem"]
    with pytest.raises(RowError, match="no column 'problem'"):
        read([row], tmp_path / "a")
    with pytest.raises(ValueError, match="no pair to learn from in 1 rows"):
        read([response(0, 0, "right")], tmp_path / "b")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "x"}) + "\n")
    with pytest.raises(RowError, match=r"rows\.jsonl"):
        read_preferences([str(tmp_path / "rows.jsonl")], TOKENIZER, "", 512, 1, 0.0, 0)


def test_the_trainer_takes_the_ids_as_they_are(tmp_path: Path) -> None:
    """TRL's own preparation would have ended the step and found another boundary; the first loss is log 2."""
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig

    pairs = read([pair()], tmp_path / "s", "step_pair")
    args = DPOConfig(
        str(tmp_path / "out"), max_steps=1, use_cpu=True, bf16=False, per_device_train_batch_size=1, report_to="none",
        logging_steps=1, gradient_checkpointing=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(SHIPPED)
    trainer = TokenisedDpoTrainer(model, args=args, train_dataset=pairs.train, processing_class=TOKENIZER)
    batch = next(iter(trainer.get_train_dataloader()))
    row = pairs.train[0]
    assert batch["input_ids"][0].tolist()[: len(row["prompt_ids"] + row["chosen_ids"])] == (
        row["prompt_ids"] + row["chosen_ids"]
    )
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
