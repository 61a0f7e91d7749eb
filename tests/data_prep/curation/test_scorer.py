"""The difficulty scorer: on problems whose difficulty is planted in their words, and on MATH and Omni-MATH."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from data_prep.artefacts import read_manifest, read_trained_on
from data_prep.curation import scorer, scorer_models, scorer_training
from data_prep.curation.scorer import Scorer
from data_prep.curation.scorer_models import Finetuning, Linear
from data_prep.curation.scorer_training import (
    correlations,
    difficulty_of,
    is_held_out,
    rank_correlation,
    read_labelled,
    table,
    train,
)
from data_prep.curation.text import masked, tokens
from data_prep.rows import RowError, problem_id

REPOSITORY = Path(__file__).resolve().parents[3]
CHECKPOINT = REPOSITORY / "data_prep" / "small_world" / "checkpoints" / "small"
WORDS = {1: "add", 2: "count", 3: "divide", 4: "integrate", 5: "classify"}
FILLING = "apples pears boxes coins lines points cards games steps rows balls trees".split()


def made_up(n: int, seed: int, question: str) -> list[dict[str, Any]]:
    """Problems of level 1 to 5, told by one word; length and numbers say nothing."""
    rng = Random(seed)
    rows = []
    for i in range(n):
        level = rng.randint(1, 5)
        words = rng.choices(FILLING, k=rng.randint(3, 12))
        words.insert(rng.randrange(len(words)), WORDS[level])
        rows.append({question: f"Please {' '.join(words)} for $ n = {rng.randint(2, 99)} $.", "level": level, "row": i})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | Path]:
    folder = tmp_path_factory.mktemp("data")
    math = [{**row, "level": f"Level {row['level']}"} for row in made_up(500, 0, "problem")]
    omni = [
        {"question": row["question"], "human_type": f"omni_{2.0 * row['level'] - 1}_a_contest"}
        for row in made_up(300, 1, "question")
    ]
    return {"math": write(folder / "math.jsonl", math), "omni": write(folder / "omni.jsonl", omni)}


@pytest.fixture(scope="module")
def folder(data: dict[str, str | Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scorers") / "scorer"
    train(out, data, n_bootstrap=200)
    return out


def test_learns_what_is_planted_and_the_length_does_not_tell_it(folder: Path):
    manifest = read_manifest(folder)
    assert manifest
    for name in ("math", "omni"):
        found = manifest["held_out"][name]
        assert found["spearman"]["model"]["mean"] > 0.9
        assert abs(found["spearman"]["length"]["mean"]) < 0.35
        difference = found["model_minus"]["length"]
        assert 0.3 < difference["low"] < difference["mean"] < difference["high"]
        assert found["spearman"]["model, other data"]["mean"] > 0.9
    assert [row["data"] for row in manifest["hard"]] == ["omni"] * 3  # no problem of MATH is above 6
    text = table(manifest)
    assert "length, own data" in text
    assert "difficulty > 6" in text


def test_the_folder_says_what_it_was_made_of_and_holds_no_pickle(folder: Path, data: dict[str, str | Path]):
    manifest = read_manifest(folder)
    assert manifest
    assert sorted(file.name for file in folder.iterdir()) == [
        "manifest.json",
        "scorer.safetensors",
        "trained_on.parquet",
    ]
    assert set(manifest["inputs"]) == {str(path) for path in data.values()}
    assert manifest["config"]["levels"] == {"math": [1.0, 1.5, 2.25, 3.0, 4.0]}
    assert {"scikit-learn", "numpy", "safetensors"} <= set(manifest["libraries"])
    assert manifest["rows_in"] == manifest["rows_out"] + sum(manifest["rows_dropped"].values()) == 800
    problems, _ = read_labelled(data)
    learned = {problem_id(row.problem) for row in problems if not is_held_out(row.group, 0.2)}
    assert read_trained_on(folder) == learned
    assert sum(found["n"] for found in manifest["held_out"].values()) == manifest["rows_dropped"]["held out"]


def test_a_loaded_scorer_is_the_trained_one_and_training_has_no_chance_in_it(
    folder: Path, data: dict[str, str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[Linear] = []
    fit = scorer_models.fit_linear

    def fit_and_keep(*args: Any) -> Any:
        made.append((result := fit(*args))[0])
        return result

    monkeypatch.setattr(scorer_training, "fit_linear", fit_and_keep)
    manifest = train(tmp_path / "again", data, n_bootstrap=20)
    problems = [row["problem"] for row in made_up(100, 2, "problem")]
    expected = np.clip(made[0](problems), 1, 10)
    assert np.array_equal(Scorer.load(tmp_path / "again").score(problems), expected)
    assert np.array_equal(Scorer.load(folder).score(problems), expected)
    before = read_manifest(folder)
    assert before
    assert before["settings"] == manifest["settings"]


def test_scores_do_not_depend_on_the_batch(folder: Path, monkeypatch: pytest.MonkeyPatch):
    loaded = Scorer.load(folder)
    texts = [row["problem"] for row in made_up(103, 3, "problem")]
    texts += ["", "   ", "[asy] draw((0,0)--(1,1)); [/asy]", "已知 $x^2=4$，求 $x$。", "long " * 5000, r"\frac{" * 40]
    scores = loaded.score(texts)
    assert scores.shape == (len(texts),)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert ((scores >= 1) & (scores <= 10)).all()
    assert np.array_equal(scores, np.concatenate([loaded.score([text]) for text in texts]))
    monkeypatch.setattr(scorer_models, "CHUNK", 7)
    assert np.array_equal(scores, loaded.score(texts))
    assert np.array_equal(scores[::-1], loaded.score(texts[::-1]))
    assert loaded.score([]).shape == (0,)


def test_typesetting_and_numbers_do_not_count(folder: Path):
    one, other = Scorer.load(folder).score(
        ["Please divide $ x^{2} $ apples by $\\dfrac{3}{4}$.", "please divide $x^2$ apples by \\(\\frac{7}{9}\\)"]
    )
    assert one == other


def test_refuses_what_is_no_text(folder: Path):
    loaded = Scorer.load(folder)
    with pytest.raises(ValueError, match="a list of problems"):
        loaded.score("What is 1 + 1?")
    with pytest.raises(ValueError, match="problem 1 is NoneType"):
        loaded.score(["What?", None])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"problem 0: .* half a character"):
        loaded.score(["\ud800"])


def test_refuses_folders_that_are_no_scorers_or_read_texts_by_other_rules(folder: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json"):
        Scorer.load(tmp_path)
    with pytest.raises(ValueError, match="no scorer"):
        Scorer.load(CHECKPOINT)
    manifest = read_manifest(folder)
    assert manifest
    manifest["settings"]["probe"] = "another"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="other rules: train the scorer again"):
        Scorer.load(tmp_path)
    manifest["settings"]["probe"] = scorer_models.probe()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "scorer.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"unreadable scorer\.safetensors"):
        Scorer.load(tmp_path)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"difficulty": 7.5}, 7.5),
        ({"difficulty": None, "level": "2"}, 2.0),
        ({"human_type": "omni_8.0_some_contest_2"}, 8.0),
        ({"level": "Level ?"}, None),
        ({"difficulty": 0.0}, None),
        ({"difficulty": float("nan")}, None),
        ({"difficulty": ""}, None),
        ({"answer": "3"}, None),
    ],
)
def test_labels(row: dict[str, Any], expected: float | None):
    assert difficulty_of(row, None, "a row") == expected


@pytest.mark.parametrize(
    ("row", "levels", "message"),
    [
        ({"human_type": "Real"}, None, "'human_type' is 'Real': no difficulty"),
        ({"difficulty": -2.0}, None, "'difficulty' is '-2.0': no difficulty"),
        ({"difficulty": 11.0}, None, "between 1 and 10"),
        ({"difficulty": True}, None, "'difficulty' is 'True': no difficulty"),
        ({"level": 6}, (1.0, 2.0, 3.0), "levels here are 1 to 3"),
        ({"level": 1.5}, (1.0, 2.0, 3.0), "'level' is 1.5"),
    ],
)
def test_refuses_other_labels(row: dict[str, Any], levels: tuple[float, ...] | None, message: str):
    with pytest.raises(RowError, match=f"f.jsonl, line 3: .*{message}"):
        difficulty_of(row, levels, "f.jsonl, line 3")


def test_what_is_left_out_is_counted(tmp_path: Path):
    rows: list[dict[str, Any]] = [
        {"problem": "Find $x$.", "level": "Level 3"},
        {"problem": "find $ x $ .", "level": "Level 5"},
        {"problem": "Find $y$.", "level": "Level ?"},
        {"problem": "Find $z + 1$.", "level": 0},
        {"problem": "Find $z + 2$.", "level": 5},
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    problems, left_out = read_labelled({"math": path})
    assert [(row.difficulty, row.group) for row in problems] == [(2.25, "find x"), (4.0, "find z + 0")]
    assert left_out == {"math: stood before": 1, "math: no label": 2}
    problems, _ = read_labelled({"mine": path})
    assert [row.difficulty for row in problems] == [3.0, 5.0]


def test_problems_that_differ_in_numbers_are_on_one_side(data: dict[str, str | Path]):
    problems, _ = read_labelled(data)
    share = sum(is_held_out(row.group, 0.2) for row in problems) / len(problems)
    assert 0.15 < share < 0.25
    texts = [f"Please add ${n}$ apples, {n + 1} pears and {1000 * n:,} coins." for n in range(2, 40)]
    assert len({is_held_out(masked(tokens(text)), 0.5) for text in texts}) == 1


def test_mistakes_are_named(data: dict[str, str | Path], tmp_path: Path):
    empty = write(tmp_path / "empty.jsonl", [{"problem": "Find $x$.", "level": None}])
    with pytest.raises(ValueError, match=r"empty\.jsonl: no problem with a label"):
        train(tmp_path / "out", {"mine": empty})
    with pytest.raises(RowError, match=r"blank\.jsonl, line 1: no text"):
        train(tmp_path / "out", {"mine": write(tmp_path / "blank.jsonl", [{"problem": " ", "level": 3}])})
    few = write(tmp_path / "few.jsonl", made_up(3, 0, "problem"))
    with pytest.raises(ValueError, match=r"few\.jsonl: .* too few"):
        train(tmp_path / "out", {"math": few})
    with pytest.raises(ValueError, match="held_out is 1"):
        train(tmp_path / "out", data, held_out=1.0)
    with pytest.raises(ValueError, match="rising values"):
        train(tmp_path / "out", data, levels={"math": (1, 3, 2, 4, 5)})
    with pytest.raises(ValueError, match="no effect without"):
        train(tmp_path / "out", data, finetuning=Finetuning())
    assert not (tmp_path / "out").exists()
    with pytest.raises(FileExistsError, match="exists already"):
        train(tmp_path, data)
    assert not [file for file in tmp_path.iterdir() if ".tmp-" in file.name]


def test_correlations_are_those_of_scipy_and_paired():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    truth = rng.integers(1, 10, 400).astype(float)
    good, poor = truth + rng.normal(0, 2, 400), truth + rng.normal(0, 8, 400)
    each, differences = correlations(truth, {"good": good, "same": good, "poor": poor}, 0, 500)
    assert each["good"].mean == pytest.approx(spearmanr(truth, good)[0])
    assert each["good"].low < each["good"].mean < each["good"].high
    assert (differences["same"].low, differences["same"].high) == (0, 0)
    assert differences["poor"].mean == pytest.approx(each["good"].mean - each["poor"].mean)
    assert differences["poor"].low > 0.2
    assert rank_correlation(truth, np.ones(400)) == 0


def run(*arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "data_prep.curation.scorer", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=REPOSITORY,
    )


def test_as_a_process(data: dict[str, str | Path], tmp_path: Path):
    given = [word for name, path in data.items() for word in ("--data", f"{name}={path}")]
    done = run("train", tmp_path / "scorer", *given, "--levels", "math=1,2,3,4,5")
    assert done.returncode == 0, done.stderr
    assert "model minus this" in done.stdout
    manifest = read_manifest(tmp_path / "scorer")
    assert manifest
    assert manifest["config"]["levels"] == {"math": [1, 2, 3, 4, 5]}
    done = run("score", tmp_path / "scorer", data["omni"], tmp_path / "scored.jsonl")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    assert len(rows) == 300
    texts = [row["problem"] for row in rows]
    assert [row["score"] for row in rows] == Scorer.load(tmp_path / "scorer").score(texts).round(4).tolist()
    assert rows[0]["problem_id"] == problem_id(texts[0])
    done = run("score", tmp_path / "scorer", data["omni"], tmp_path / "scored.jsonl")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "exists already" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "math"], "give NAME=PATH"),
        (["--data", "math=a.jsonl", "--data", "math=b.jsonl"], "given twice"),
        (["--data", "math=a.jsonl", "--levels", "omni=1,2"], "no data set of this name"),
        (["--data", "math=a.jsonl", "--levels", "math=1,high"], "give numbers"),
        (["--data", "math=a.jsonl", "--max_length", "9"], "no effect without --model_name_or_path"),
        (["--data", "math=missing.jsonl"], "no such file or folder"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(arguments: list[str], message: str, tmp_path: Path):
    args = scorer.parser().parse_args(["train", str(tmp_path / "out"), *arguments])
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        scorer.run(args)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_transformer_learns_it_too(data: dict[str, str | Path], tmp_path: Path):
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM, Qwen3ForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1,
    )
    Qwen3ForCausalLM(config).save_pretrained(tmp_path / "random")
    tokenizer.save_pretrained(tmp_path / "random")
    settings = Finetuning(num_train_epochs=8, learning_rate=1e-2, per_device_train_batch_size=32, max_length=64)
    out = tmp_path / "scorer"
    manifest = train(out, data, model_name_or_path=str(tmp_path / "random"), finetuning=settings, n_bootstrap=20)
    assert manifest["model"] == "transformer"
    assert manifest["held_out"]["omni"]["spearman"]["model"]["mean"] > 0.6
    assert manifest["settings"]["max_length"] == 64
    assert Qwen3ForSequenceClassification.from_pretrained(out).config.num_labels == 1  # a normal model folder
    loaded = Scorer.load(out)
    texts = [row["problem"] for row in made_up(40, 4, "problem")] + ["", "long " * 500]
    scores = loaded.score(texts)
    assert scores.shape == (42,)
    np.testing.assert_allclose(scores, np.concatenate([loaded.score([text]) for text in texts]), atol=1e-4)
    assert np.array_equal(scores, Scorer.load(out).score(texts))


def test_the_linear_model_needs_no_torch(folder: Path):
    code = (
        "import sys; from data_prep.curation.scorer import Scorer; "
        f"Scorer.load({str(folder)!r}).score(['Please add.']); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.real_data
@pytest.mark.skipif(
    "REDSTAR_DATA" not in os.environ, reason="needs benchmarks/ below the folder named by $REDSTAR_DATA"
)
def test_on_math_and_omni_math_the_text_says_more_than_its_length(tmp_path: Path):
    folder = Path(os.environ["REDSTAR_DATA"]) / "benchmarks"
    files: dict[str, str | Path] = {
        "math": folder / "math_train_7474.jsonl.gz",
        "omni": folder / "omni_math_4428.jsonl.gz",
    }
    manifest = train(tmp_path / "scorer", files, n_bootstrap=1000)
    assert manifest["rows_dropped"]["math: no label"] == 2
    for what in ("length", "length, own data"):
        difference = manifest["held_out"]["omni"]["model_minus"][what]
        assert difference["mean"] >= 0.15
        assert difference["low"] > 0.15
        assert manifest["held_out"]["math"]["model_minus"][what]["low"] > 0.05
    with pytest.raises(RowError, match=r"math_test_5000\.jsonl\.gz, line 1: 'human_type' is 'Real'"):
        train(tmp_path / "other", {"test": folder / "math_test_5000.jsonl.gz"})
