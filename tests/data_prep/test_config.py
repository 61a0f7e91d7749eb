"""`data_prep.config`: what is taken, from where, and what is refused with which words."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest

from data_prep import config
from data_prep.config import ConfigError, parse_config, stale_common


class Order(Enum):
    SHUFFLED = "shuffled"
    NONE = "no"


class Span(TypedDict):
    low: int
    high: int


@dataclass
class Source:
    path: str
    weight: float = 1.0
    kind: str = field(default="json", metadata={"choices": ["json", "parquet"]})

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight must not be negative, got {self.weight}")


@dataclass
class DataOptions:
    """Stands for a recipe's own options."""

    datasets: list[Source] = field(default_factory=list, metadata={"help": "sources to mix"})
    best: Source | None = field(default=None, metadata={"help": "one more source"})
    span: Span | None = None
    shares: dict[str, float] = field(default_factory=dict, metadata={"help": "share in 100 %% by name"})
    order: Order = Order.SHUFFLED
    think: Literal["short", "long", "no"] = field(default="long", metadata={"help": "length of the thought"})
    tags: list[str] = field(default_factory=list)
    folder: Path | None = None
    multiple: int | str | None = "auto"


@dataclass
class TrainOptions:
    """Stands for a trainer's options."""

    learning_rate: float = 1e-4
    batch_size: int = 8
    packing: bool = False
    shuffle: bool = True
    bf16: bool | None = None
    max_steps: int | None = None
    run_name: str | None = None
    schedule: str = field(default="cosine", metadata={"choices": ["cosine", "linear"]})
    fsdp: str | None = field(default=None, metadata={"nargs": "?", "const": True})

    def __post_init__(self) -> None:
        if self.packing and self.batch_size == 13:
            raise ValueError("packing does not\n  go with 13")


@dataclass
class NeedsModel:
    model: str


OWN = (DataOptions, TrainOptions)


def read(*argv: str, own: Sequence[type] = OWN, **keywords: Any) -> tuple[Any, ...]:
    return parse_config("stage", "What it does.", own, argv=argv, **keywords)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Calls `read`, expects status 2 and exactly one `error:` line, and returns it."""

    def call(*argv: str, **keywords: Any) -> str:
        with pytest.raises(SystemExit) as stop:
            read(*argv, **keywords)
        assert stop.value.code == 2
        assert isinstance(stop.value.__cause__, ConfigError)
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        return error.strip()

    return call


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes `c.yaml` in the (temporary) working directory and returns that name."""
    monkeypatch.chdir(tmp_path)

    def call(content: str) -> str:
        Path("c.yaml").write_text(content)
        return "c.yaml"

    return call


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


# --- Where values come from


def test_precedence(write):
    path = write("learning_rate: 3\nbatch_size: 3\n")
    _, train = read(
        "--config",
        path,
        "--learning_rate",
        "4",
        defaults=lambda: {"learning_rate": 2.0, "batch_size": 2, "max_steps": 2},
    )
    assert (train.learning_rate, train.batch_size, train.max_steps, train.schedule) == (4.0, 3, 2, "cosine")


def test_a_hardware_default_with_an_unknown_name_is_noticed(refused):
    assert "max_step: unknown key" in refused("--packing", defaults=lambda: {"max_step": 1})


@pytest.mark.parametrize("flags", [["--config", "c.yaml"], ["--config=c.yaml"]])
def test_first_line_names_the_file(flags, write, capsys):
    write("batch_size: 3\n")
    read(*flags)
    assert capsys.readouterr().out == "config: c.yaml\n"
    read(*flags, "--packing", "--tags", "a", "b")
    assert capsys.readouterr().out == "config: c.yaml (+ 2 options from the command line)\n"


def test_no_arguments_mean_the_tiny_preset(tmp_path, monkeypatch, capsys):
    preset = tmp_path / "recipes" / "configs" / "tiny" / "stage.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text("batch_size: 1\n")
    monkeypatch.setattr(config, "REPOSITORY", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert read()[1].batch_size == 1
    assert capsys.readouterr().out == "config: recipes/configs/tiny/stage.yaml\n"
    assert read("--packing")[1].batch_size == 8
    out = capsys.readouterr().out
    assert out == "config: built-in defaults (no --config given) (+ 1 option from the command line)\n"


def test_arguments_of_the_process_are_the_default(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["recipe.py", "--batch_size", "5"])
    assert parse_config("stage", "doc", OWN)[1].batch_size == 5


def test_other_ranks_are_silent(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "0")
    read("--packing")
    for argv in (["--pakcing"], ["--help"]):
        with pytest.raises(SystemExit):
            read(*argv)
    assert capsys.readouterr() == ("", "")


def test_env_block(write, monkeypatch, refused):
    monkeypatch.setenv("SOME_VARIABLE", "before")
    write("env:\n  SOME_VARIABLE: 1\nbatch_size: 2\n")

    def trainer() -> Sequence[type]:
        assert os.environ["SOME_VARIABLE"] == "1", "it has to be set before the libraries are imported"
        return ()

    assert read("--config", "c.yaml", trainer=trainer)[1].batch_size == 2
    for block, words in (("env: 3", "env: expected mapping"), ("env: {A: [1]}", "env.A: expected text, got [1]")):
        assert words in refused("--config", write(block))


def test_merge_keys_and_anchors_are_allowed(write):
    path = write("best: &a {path: x, weight: 2}\ndatasets:\n  - {<<: *a, path: y}\n")
    assert read("--config", path)[0].datasets == [Source("y", 2.0)]


def test_required(write, refused):
    assert "model: required, set it in the YAML file or with --model" in refused("--packing", own=[*OWN, NeedsModel])
    assert read("--config", write("model: m"), own=[NeedsModel]) == (NeedsModel("m"),)


def test_the_same_name_in_two_classes_is_our_mistake():
    @dataclass
    class Again:
        packing: bool = False

    with pytest.raises(AssertionError, match="packing"):
        read("--packing", own=[*OWN, Again])


# --- What is taken


def test_yaml_values(write):
    path = write(
        """
        learning_rate: 1e-5        # PyYAML makes this a string
        batch_size: 4
        packing: true
        bf16: false
        max_steps: null
        run_name: "7"
        fsdp: true
        datasets: [{path: a, weight: 2}, {path: b, kind: parquet}]
        best: {path: c}
        span: {low: 1, high: 2}
        shares: {x: 1, y: 2e-1}
        order: no                  # PyYAML makes this a truth value
        think: no
        tags: []
        folder: some/where
        multiple: 8
        """
    )
    data, train = read("--config", path)
    assert train == TrainOptions(1e-5, 4, packing=True, bf16=False, run_name="7", fsdp=True)  # type: ignore[arg-type]
    assert data == DataOptions(
        datasets=[Source("a", 2.0), Source("b", kind="parquet")],
        best=Source("c"),
        span={"low": 1, "high": 2},
        shares={"x": 1.0, "y": 0.2},
        order=Order.NONE,
        think="no",
        folder=Path("some/where"),
        multiple=8,
    )
    assert isinstance(data.datasets[0].weight, float)


def test_command_line_values():
    data, train = read(
        *("--learning-rate", "1e-5", "--batch_size=4", "--packing", "--no_shuffle", "--bf16", "--max_steps", "none"),
        *("--run_name", "none", "--datasets", "{path: a, weight: 2e-1}", '{"path": "b"}', "--best", "{path: c}"),
        *("--shares", "{x: 1}", "--order", "no", "--think", "short", "--tags", "a", "b", "--multiple", "8", "--fsdp"),
        *("--span", "{low: 1, high: 2}", "--folder", "x"),
    )
    assert train == TrainOptions(1e-5, 4, True, False, True, run_name="none", fsdp=True)  # type: ignore[arg-type]
    assert data.datasets == [Source("a", 0.2), Source("b")]
    assert data.best == Source("c")
    assert (data.shares, data.order, data.think, data.tags) == ({"x": 1.0}, Order.NONE, "short", ["a", "b"])
    assert (data.multiple, data.span, data.folder) == (8, {"low": 1, "high": 2}, Path("x"))
    assert read("--multiple", "auto", "--packing", "no", "--bf16", "false")[1].packing is False
    assert read("--max_steps", "-1")[1].max_steps == -1


# --- What is refused


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("learning_rte: 1", "learning_rte: unknown key (did you mean learning_rate?)"),
        ("learning-rate: 1", "learning-rate: unknown key (did you mean learning_rate?)"),
        ("learn: 1", "learn: unknown key (did you mean learning_rate?)"),
        ("zzz: 1", "zzz: unknown key"),
        ("1: 1", "1: unknown key"),
        ("learning_rate: fast", "learning_rate: expected number, got 'fast'"),
        ("learning_rate: [1]", "learning_rate: expected number, got [1]"),
        ("learning_rate: true", "learning_rate: expected number, got true"),
        ("learning_rate:", "learning_rate: expected number, got null"),
        ("batch_size: 2.5", "batch_size: expected integer, got 2.5"),
        ("batch_size: '2'", "batch_size: expected integer, got '2'"),
        ("max_steps: much", "max_steps: expected integer, got 'much'"),
        ("packing: yes please", "packing: expected true or false, got 'yes please'"),
        ("packing: 1", "packing: expected true or false, got 1"),
        ("run_name: 7", "run_name: expected text, got 7 (put it in quotes)"),
        ("run_name: [a]", "run_name: expected text, got ['a']"),
        ("run_name: 2024-01-01", "run_name: expected text"),
        ("schedule: coisne", "schedule: expected one of 'cosine', 'linear', got 'coisne' (did you mean cosine?)"),
        ("think: logn", "think: expected one of 'short', 'long', 'no', got 'logn' (did you mean long?)"),
        ("think: yes", "think: expected one of 'short', 'long', 'no', got true"),
        ("order: shufled", "order: expected one of 'shuffled', 'no', got 'shufled' (did you mean shuffled?)"),
        ("tags: a", "tags: expected list of text, got 'a'"),
        ("tags: [a, 1]", "tags[1]: expected text, got 1"),
        ("multiple: 1.5", "multiple: expected integer or text or null, got 1.5"),
        ("fsdp: false", "fsdp: expected text, got false"),
        ("datasets: {path: a}", "datasets: expected list of mapping with keys path, weight, kind, got {'path': 'a'}"),
        ("datasets: [{pth: a}]", "datasets[0].pth: unknown key (did you mean path?)"),
        ("datasets: [{path: a}, {weight: 1}]", "datasets[1]: lacks path"),
        ("datasets: [{path: a, weight: much}]", "datasets[0].weight: expected number, got 'much'"),
        ("datasets: [{path: a, kind: jsn}]", "datasets[0].kind: expected one of 'json', 'parquet', got 'jsn'"),
        ("datasets: [{path: a, weight: -1}]", "datasets[0]: weight must not be negative, got -1.0"),
        ("datasets: [a]", "datasets[0]: expected mapping with keys path, weight, kind, got 'a'"),
        ("best: {path: a, wieght: 1}", "best.wieght: unknown key (did you mean weight?)"),
        ("span: {low: 1}", "span: lacks high"),
        ("span: {low: 1, high: 2, mid: 1}", "span.mid: unknown key"),
        ("shares: {x: much}", "shares.x: expected number, got 'much'"),
        ("shares: {1: 2}", "shares: key 1: expected text, got 1"),
        ("packing: true\nbatch_size: 13", "refused by TrainOptions: packing does not go with 13"),
        ("batch_size: 1\npacking: true\nbatch_size: 2", "line 3: not valid YAML: duplicate key 'batch_size'"),
        ("best: {path: a, path: b}", "line 1: not valid YAML: duplicate key 'path'"),
        ("", "expected lines 'option: value', got an empty file"),
        ("- a", "expected lines 'option: value', got ['a']"),
        ("just words", "expected lines 'option: value', got 'just words'"),
        ("a: b\nc: [1, 2", "line 2: not valid YAML: "),
        ("a: b: c", "line 1: not valid YAML: "),
        ("a: 1\n---\nb: 2", "not valid YAML: "),
        ("a: \x07", "not valid YAML: "),
    ],
)
def test_refused_in_yaml(content, words, write, refused):
    error = refused("--config", write(content))
    assert error.startswith("error: c.yaml: ")
    assert words in error


def test_a_config_file_that_cannot_be_read(write, refused):
    path = write("a: b")
    assert refused("--config", "d.yaml") == "error: d.yaml: cannot read this config file: No such file or directory"
    assert "cannot read" in refused("--config", ".")
    Path(path).write_bytes(b"\xff\xfe\xff")
    assert "not valid YAML" in refused("--config", path)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--learn", "1e-5"], "--learn: unknown option (did you mean --learning_rate?)"),
        (["--learn=1e-5"], "--learn: unknown option (did you mean --learning_rate?)"),
        (["-learning_rate", "1"], "-learning_rate: unknown option (did you mean --learning_rate?)"),
        (["--learning-rte", "1"], "--learning-rte: unknown option (did you mean --learning_rate?)"),
        (["--conf", "c.yaml"], "--conf: unknown option (did you mean --config?)"),
        (["--no_packing"], "--no_packing: unknown option, write --packing false"),
        (["c.yaml"], "c.yaml: belongs to no option, a config file is given with --config c.yaml"),
        (["--batch_size", "1", "2"], "2: belongs to no option"),
        (["--learning_rate", "fast"], "--learning_rate: expected number, got 'fast'"),
        (["--learning_rate"], "--learning_rate: expected one argument"),
        (["--batch_size", "2.5"], "--batch_size: expected integer, got '2.5'"),
        (["--max_steps", "much"], "--max_steps: expected integer, got 'much'"),
        (["--packing", "yes please"], "--packing: expected true or false, got 'yes please'"),
        (["--schedule", "coisne"], "--schedule: expected one of 'cosine', 'linear', got 'coisne'"),
        (["--order", "shufled"], "--order: expected one of 'shuffled', 'no', got 'shufled' (did you mean shuffled?)"),
        (["--think", "logn"], "--think: expected one of 'short', 'long', 'no', got 'logn' (did you mean long?)"),
        (["--datasets", "a"], "--datasets[0]: expected mapping with keys path, weight, kind, got 'a', write '{key:"),
        (["--datasets", "{path: a, wieght: 1}"], "--datasets[0].wieght: unknown key (did you mean weight?)"),
        (["--shares", "{x: [}"], "--shares: expected mapping, got '{x: [}'"),
        (["--config", "a.yaml", "--config=b.yaml"], "--config: given 2 times, expected once"),
        (["--config"], "--config: expected one argument"),
    ],
)
def test_refused_on_the_command_line(argv, words, refused):
    error = refused(*argv)
    assert error.startswith("error: command line: ")
    assert words in error


# --- Help


def test_short_help_leaves_the_trainer_alone(capsys):
    def trainer() -> Sequence[type]:
        raise AssertionError("not needed for the short help")

    with pytest.raises(SystemExit) as stop:
        read("--help", own=[DataOptions, NeedsModel], trainer=trainer, common={"max_steps": "steps (default: -1)"})
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert "What it does." in out
    assert out.rstrip().splitlines()[-1] == "--help_all shows every flag."
    assert "--think (one of 'short', 'long', 'no')\n      length of the thought (default: 'long')" in out
    assert "share in 100 % by name" in out
    assert "--model (text)\n      (required)" in out
    assert "--max_steps\n      steps (default: -1)" in out
    assert "recipes/configs/tiny/stage.yaml" in out


def test_short_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys, dataclasses; from data_prep.config import parse_config\n"
        "own = dataclasses.make_dataclass('Own', [('size', int, 3)])\n"
        "try: parse_config('stage', 'doc', [own], argv=['--help'])\n"
        "finally: assert not {'torch', 'transformers', 'trl'} & set(sys.modules)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=config.REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--size (integer)\n      (default: 3)" in done.stdout
    assert time.perf_counter() - start < 2


# --- With TRL's own classes


def trl_classes() -> Sequence[type]:
    from trl import ModelConfig, SFTConfig

    return [SFTConfig, ModelConfig]


def read_trl(*argv: str) -> tuple[Any, ...]:
    return read(*argv, own=[DataOptions], trainer=trl_classes, defaults=lambda: {"use_cpu": True, "bf16": False})


def test_trl_classes(write, tmp_path):
    path = write(
        "learning_rate: 1e-5\nsave_strategy: no\neval_strategy: no\nlr_scheduler_type: cosine\npacking: true\n"
        "lr_scheduler_kwargs: {num_cycles: 1}\nreport_to: [wandb]\ndebug: []\nnum_train_epochs: 2\n"
        "accelerator_config: {split_batches: true}\noptim: adamw_torch\nlogging_steps: 1\nwarmup_steps: 0.1\n"
    )
    data, sft, model = read_trl("--config", path, "--max_length", "none", "--dtype", "bfloat16", "--bf16")
    assert data == DataOptions()
    assert (sft.learning_rate, sft.save_strategy, sft.lr_scheduler_type) == (1e-5, "no", "cosine")
    assert (sft.lr_scheduler_kwargs, sft.report_to, sft.max_length) == ({"num_cycles": 1}, ["wandb"], None)
    assert sft.accelerator_config.split_batches
    assert sft.use_cpu
    assert sft.bf16
    assert model.dtype == "bfloat16"
    _, sft, _ = read_trl(
        "--lr_scheduler_kwargs", '{"num_cycles": 2}', "--pad_to_multiple_of", "8", "--report_to", "none"
    )
    assert (sft.lr_scheduler_kwargs, sft.pad_to_multiple_of, sft.report_to) == ({"num_cycles": 2}, 8, [])
    assert sft.bf16 is False
    assert sft.eval_strategy == "no"


def test_trl_defaults_are_the_classes_own():
    from trl import ModelConfig, SFTConfig

    assert read_trl("--use_cpu")[1:] == (SFTConfig(use_cpu=True, bf16=False), ModelConfig())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--lr_scheduler_type", "coisne"], "--lr_scheduler_type: expected one of 'linear', 'cosine', "),
        (["--save_strategy", "nevr"], "--save_strategy: expected one of 'no', 'steps', 'epoch', 'best', got 'nevr'"),
        (["--optim", "adam_torch"], "(did you mean adamw_torch?)"),
        (["--per_device_train_batch_siz", "1"], "(did you mean --per_device_train_batch_size?)"),
        (["--accelerator_config", "{split_batch: true}"], "refused by SFTConfig: "),
        (["--bf16", "--fp16"], "refused by SFTConfig: At most one of fp16 and bf16 can be True, but not both"),
        (["--deepspeed", "missing.json"], "refused by SFTConfig: "),
    ],
)
def test_trl_refusals(argv, words, capsys):
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    with pytest.raises(SystemExit) as stop:
        read_trl(*argv)
    unset_hf_deepspeed_config()  # a refused one stays where models look for it
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error


def test_help_all_shows_every_flag(capsys):
    with pytest.raises(SystemExit) as stop:
        read_trl("--help_all")
    out = capsys.readouterr().out
    assert stop.value.code == 0
    for words in ("What it does.", "--config", "--datasets", "--torch_empty_cache_steps", "--lora_r", "share in 100 %"):
        assert words in out


def test_common_is_checked_against_the_classes():
    good = {"learning_rate": "peak (default: 2e-05)", "save_strategy": "when (default: steps)", "lora_r": "rank"}
    assert stale_common(trl_classes, good) == []
    bad = {"learn_rate": "peak", "learning_rate": "peak (default: 5e-05)"}
    assert stale_common(trl_classes, bad) == [
        "learn_rate: unknown option (did you mean learning_rate?)",
        "learning_rate: the help says default 5e-05, it is 2e-05",
    ]
