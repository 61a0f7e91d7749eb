"""Direct preference optimisation on TRL's `DPOTrainer`: pairs of right and wrong responses, or of steps, as token ids.

https://huggingface.co/docs/trl/main/en/dpo_trainer. TRL tokenises texts, ends each of them with the end of the turn and
cuts what is too long; here ids are joined segment by segment, a step that does not end its text is not ended, and what
is too long is left out and counted.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer

from data_prep.benchmarks import as_asked
from data_prep.formats import is_unclosed
from data_prep.mcts.steps import END_OF_ANSWER
from data_prep.responses import whole_characters
from data_prep.rows import RowError, problem_id, validate
from data_prep.sources import DatasetConfig, open_blocks, read_block
from data_prep.tokenization import encode, end_of_turn_texts, part_of
from rl.ppm.data import read_pairs


@dataclass
class PreferenceConfig(DPOConfig):
    """TRL's `DPOConfig` with defaults for Long-CoT.

    > NOTE: these defaults differ from TRL's: `max_length` 16384 (was 1024), `per_device_train_batch_size` 1 (8),
    > `gradient_accumulation_steps` 8 (1).
    """

    output_dir: str | None = field(default="outputs/dpo", metadata={"help": "Where checkpoints and the model go."})
    max_length: int | None = field(default=16384, metadata={"help": "Longest prompt and response, in tokens."})
    per_device_train_batch_size: int = field(default=1, metadata={"help": "Pairs per device and forward pass."})
    per_device_eval_batch_size: int = field(default=1, metadata={"help": "The same for the evaluation."})
    gradient_accumulation_steps: int = field(default=8, metadata={"help": "Forward passes per optimizer step."})


# TRL's own data preparation; resuming, which goes by the output folder; code from model folders, which is never run;
# and padding_free, which TRL 1.16 has switched off.
WITHOUT_EFFECT = (
    "dataset_num_proc", "ignore_data_skip", "model_init_kwargs", "pad_token", "padding_free", "resume_from_checkpoint",
    "truncation_mode", "trust_remote_code",
)  # fmt: skip


class TokenisedDpoTrainer(DPOTrainer):
    """`DPOTrainer` for rows that are ids already: `prompt_ids`, `chosen_ids`, `rejected_ids`."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset


@dataclass
class Preferences:
    """Pairs as ids, and what became of the rows that were read."""

    train: Dataset
    held_out: Dataset | None
    problem_ids: set[str]
    n_read: int
    kind: str
    dropped: Counter[str]

    @property
    def content(self) -> str:
        """Hash of the ids that are trained on."""
        return hashlib.sha256(json.dumps(self.train.to_list()).encode()).hexdigest()

    @property
    def described(self) -> str:
        left_out = "".join(f"; {n:,} left out: {reason}" for reason, n in self.dropped.items())
        held_out = f"; {len(self.held_out):,} pairs held out" if self.held_out else ""
        return (
            f"{len(self.train):,} pairs of {self.kind} of {len(self.problem_ids):,} problems, from {self.n_read:,} rows"
            f"{left_out}{held_out}"
        )


def read_preferences(
    paths: Sequence[str], tokenizer: PreTrainedTokenizerBase, instruction: str, max_length: int, per_problem: int,
    eval_share: float, seed: int,
) -> Preferences:  # fmt: skip
    """Response rows with verdicts (of evaluate.py, distill.py or RL), or step pairs (of generate_mcts.py).

    `per_problem`: pairs at most of each problem's responses, or of each group of steps; every response is used as
    seldom as possible. Raises ValueError, RowError.
    """
    dropped: Counter[str] = Counter()
    found: dict[str, list[dict[str, Any]]] = {"train": [], "eval": []}
    problem_ids: set[str] = set()
    n_read, kinds = 0, set()
    for path in paths:
        first = next((row for block in open_blocks(DatasetConfig(path), KINDS) for _, row in read_block(block)), None)
        if first is None:
            raise ValueError(f"{path}: no rows")
        steps = "rejected" in first or "neg" in first
        kinds.add("steps" if steps else "responses")
        if steps:
            pairs, n = step_pairs(path, tokenizer, per_problem, seed)
        else:
            pairs, n = response_pairs(path, tokenizer, instruction, per_problem, seed, dropped)
        n_read += n
        for pair in pairs:
            longest = max(len(pair["chosen_ids"]), len(pair["rejected_ids"])) + len(pair["prompt_ids"])
            if longest > max_length:
                dropped[f"longer than {max_length:,} tokens"] += 1
            elif pair["chosen_ids"] == pair["rejected_ids"]:
                dropped["both are the same"] += 1
            else:
                part = part_of(pair["problem_id"], eval_share)
                found[part].append(pair)
                if part == "train":
                    problem_ids.add(pair["problem_id"])
    if not found["train"]:
        raise ValueError(f"{', '.join(paths)}: no pair to learn from in {n_read:,} rows: {dict(dropped)}")
    sets = {part: Dataset.from_list([strip(pair) for pair in own]) if own else None for part, own in found.items()}
    assert sets["train"] is not None
    return Preferences(sets["train"], sets["eval"], problem_ids, n_read, " and ".join(sorted(kinds)), dropped)


KINDS = ("response", "step_pair")


def strip(pair: Mapping[str, Any]) -> dict[str, Any]:
    return {name: pair[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids")}


def response_pairs(
    path: str, tokenizer: PreTrainedTokenizerBase, instruction: str, per_problem: int, seed: int, dropped: Counter[str]
) -> tuple[list[dict[str, Any]], int]:
    """A right and a wrong response each. A response that was cut does not end."""
    texts: dict[str, str] = {}
    own: dict[str, dict[str, list[tuple[str, bool]]]] = {}
    n = 0
    for block in open_blocks(DatasetConfig(path), KINDS):
        for where, row in read_block(block):
            n += 1
            validate(row, "response", where)
            if not isinstance(row.get("problem"), str):
                raise RowError(f"{where}: no column 'problem', the text that was asked")
            if row.get("images"):
                dropped["has an image"] += 1
            elif row.get("verdict") not in ("right", "wrong"):
                dropped["neither right nor wrong"] += 1
            else:
                key = row["problem_id"]
                texts[key] = as_asked(row)
                some = own.setdefault(key, {"right": [], "wrong": []})[row["verdict"]]
                response = (whole_characters(row["response"]), row["finish_reason"] != "length")
                if response in some:
                    dropped["the same response stood before"] += 1
                else:
                    some.append(response)
    end = end_of_turn(tokenizer)
    pairs = []
    for key, both in own.items():
        if not both["right"] or not both["wrong"]:
            dropped[f"of a problem with no {'right' if not both['right'] else 'wrong'} response"] += sum(
                map(len, both.values())
            )
            continue
        text = texts[key]
        prompt = [{"role": "user", "content": f"{text}\n{instruction}" if instruction else text}]
        prompt_ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
        chosen, rejected = (shuffled(both[name], seed, key) for name in ("right", "wrong"))
        for i in range(min(per_problem, max(len(chosen), len(rejected)))):
            sides = (chosen[i % len(chosen)], rejected[i % len(rejected)])
            ids = [ids_of(text, tokenizer) + (end if ended else []) for text, ended in sides]
            pairs.append({"problem_id": key, "prompt_ids": prompt_ids, "chosen_ids": ids[0], "rejected_ids": ids[1]})
    return pairs, n


def step_pairs(
    path: str, tokenizer: PreTrainedTokenizerBase, per_group: int, seed: int
) -> tuple[list[dict[str, Any]], int]:  # fmt: skip
    """A better and a worse step (or whole solution) each, behind their prompt and the steps before."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    n = 0
    for pair in read_pairs(path):
        n += 1
        groups.setdefault((pair["prompt"], pair["pair_group"]), []).append(pair)
    end = end_of_turn(tokenizer)
    found = []
    for (_, name), own in groups.items():
        for pair in shuffled(own, seed, name)[:per_group]:
            before = "".join(pair["prefix"])
            prompt = [pair["prompt"], *pair["prefix"]]
            ids = {}
            for side in ("chosen", "rejected"):
                segments = pair[side]
                ended = pair["kind"] == "final" or ends(before + "".join(segments), segments[-1] if segments else "")
                ids[side] = [t for text in segments for t in ids_of(text, tokenizer)] + (end if ended else [])
            found.append(
                {"problem_id": pair.get("problem_id") or problem_id(pair["prompt"]),
                 "prompt_ids": [t for text in prompt for t in ids_of(text, tokenizer)],
                 "chosen_ids": ids["chosen"], "rejected_ids": ids["rejected"]}
            )  # fmt: skip
    return found, n


def ends(solution: str, last: str) -> bool:
    """Whether the last step of a solution gives its answer, so that the turn is over."""
    if END_OF_ANSWER in last:
        return True
    return "<code>" not in solution and not is_unclosed(solution) and "\\boxed" in last


def ids_of(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return [int(token) for token in next(iter(encode([text], tokenizer)))]


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids with which the chat template ends an assistant's turn."""
    turn = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<b>"}]
    rest = str(tokenizer.apply_chat_template(turn, tokenize=False)).rpartition("<b>")[2].lstrip()
    stop = next((text for text in end_of_turn_texts(tokenizer) if rest.startswith(text)), str(tokenizer.eos_token))
    return [int(tokenizer.convert_tokens_to_ids(stop))]


def shuffled(values: Sequence[Any], seed: int, name: str) -> list[Any]:
    return Random(f"{seed}/{name}").sample(list(values), len(values))
