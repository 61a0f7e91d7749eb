"""Benchmarks: suites, problems with answers, refusing those a model was trained on, and summing up responses."""

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.answers import last_boxed
from data_prep.artefacts import read_trained_on
from data_prep.config import nearest
from data_prep.equivalence.comparing import same
from data_prep.images import IMAGE_COLUMNS, PLACE, images_of, pixel_hash
from data_prep.rows import RowError, is_unicode, problem_id
from data_prep.sandbox.forms import TEST_COLUMNS, raw_tests
from data_prep.small_world.samples import problem_rows
from data_prep.sources import DatasetConfig, is_local, open_blocks, read_block

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
PROGRAM = (
    "Please reason step by step, and end with the whole program in one ```python block. Unless a function is asked "
    "for, it reads from standard input and prints to standard output."
)
N_SMALL_WORLD = 300  # problems, where nothing else is said
CHOICE_LINE = re.compile(r"^\s*\(?([A-J])\s*[:.)]\s*(\S.*?)\s*$", re.MULTILINE)
ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
ALL_IN_THE_FIGURE = "Solve the problem that the figure shows."
N_ORDERS = 400  # random orders of a problem's samples, over which maj@k is averaged
MAX_K = 1024


@dataclass(frozen=True)
class Benchmark:
    """Where the problems of a benchmark are: the small world (problems with figures: `small-geometry`, which
    `multimodal.samples` makes), a file or folder, or a Hub data set.

    `level`: only problems of this level, as 5 of MATH. `only`: only those with this value in this column (dotted for
    parts of one). `group`: the column by which results are grouped, if not the difficulty. `instruction`: what follows
    each problem in the prompt.
    """

    name: str
    path: str
    split: str = "test"
    config: str | None = None
    level: str | None = None
    instruction: str = BOXED
    only: tuple[str, str] | None = None
    group: str | None = None


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("small-world", "small-world", instruction=""),
        Benchmark("small-geometry", "small-geometry", instruction=""),
        Benchmark("math", "DigitalLearningGmbH/MATH-lighteval"),
        Benchmark("math-hard", "DigitalLearningGmbH/MATH-lighteval", level="5"),
        Benchmark("math500", "HuggingFaceH4/MATH-500"),
        Benchmark("aime24", "HuggingFaceH4/aime_2024", split="train"),
        Benchmark("amc23", "math-ai/amc23"),
        Benchmark("olympiadbench", "Hothan/OlympiadBench", split="train", config="OE_TO_maths_en_COMP"),
        Benchmark("college-math", "di-zhang-fdu/College_Math_Test"),
        Benchmark("gsm8k", "openai/gsm8k", config="main"),
        Benchmark("gaokao2023-en", "MARIO-Math-Reasoning/Gaokao2023-Math-En", split="train"),
        Benchmark("omni-math", "KbsdJmes/Omni-MATH"),
        Benchmark("humaneval", "openai/openai_humaneval"),
        Benchmark("geoqa", ""),
        Benchmark("geometry3k", "hiyouga/geometry3k"),
        Benchmark(
            "mathvista-geo", "AI4Math/MathVista", split="testmini", only=("metadata.task", "geometry problem solving")
        ),
        Benchmark("mathvision", "MathLLMs/MathVision"),
        Benchmark("mathverse", "AI4Math/MathVerse", split="testmini", config="testmini", group="problem_version"),
    )
}
# rStar-Math, table 5 (https://arxiv.org/abs/2501.04519); RedStar's abstract (https://arxiv.org/abs/2501.11284) and the
# results that later surveys give for it, RedStar-Geo's too.
SUITES = {
    "rstar-math": (
        "math", "math500", "aime24", "amc23", "olympiadbench", "college-math", "gsm8k", "gaokao2023-en",
    ),
    "redstar": ("math-hard", "math500", "aime24", "olympiadbench"),
    "redstar-geo": ("geoqa", "geometry3k", "mathvista-geo"),
}  # fmt: skip


def find_benchmarks(names: Iterable[str], split: str | None = None) -> list[Benchmark]:
    """The benchmarks behind names: of a suite, of a benchmark, `name=path`, or a path or Hub name.

    `name=path` takes the problems of a known benchmark from elsewhere, a file for instance, in a suite too (whichever
    comes first). `split`: of what is none of the known benchmarks, and of the small world. Raises ValueError.
    """
    found: dict[str, Benchmark] = {}
    given = [(name, "", "") if Path(name).exists() else name.partition("=") for name in names]
    moved: dict[str, str] = {}
    for name, sign, path in given:
        if sign and (not name or not path):
            raise ValueError(f"benchmark '{name}={path}': give name=path")
        if sign and (name in SUITES or moved.setdefault(name, path) != path):
            what = "a suite: give the path of each of its benchmarks" if name in SUITES else "given twice"
            raise ValueError(f"benchmark '{name}={path}': {name} is {what}")
    for name, sign, path in given:
        for part in SUITES.get(name, (name,)):
            known = BENCHMARKS.get(part)
            if known and part in moved:
                benchmark = replace(known, path=moved[part], split=split or "test", config=None)
            elif known:
                benchmark = replace(known, split=split) if split and part.startswith("small-") else known
            elif sign:
                benchmark = Benchmark(name, path, split or "test")
            elif "/" in part or "." in part or Path(part).exists():
                benchmark = Benchmark(Path(part).stem if is_local(part) else part, part, split or "test")
            else:
                everything = [*SUITES, *BENCHMARKS]
                raise ValueError(
                    f"benchmark {part!r} is unknown{nearest(part, everything)}; known: {', '.join(everything)}; "
                    "or give a file, a folder, a Hub name, or name=path"
                )
            if found.setdefault(benchmark.name, benchmark) != benchmark:
                raise ValueError(f"two benchmarks are called {benchmark.name!r}: give one of them as name=path")
    return list(found.values())


def read_benchmark(
    benchmark: Benchmark, n_problems: int | None = None, quiet: bool = False
) -> tuple[list[dict[str, Any]], int]:
    """Problem rows of a benchmark, each problem once, answers as text; and how many stood there a second time.

    A problem that comes twice is left out the second time and named on stderr, unless `quiet`. Columns: `problem` or
    `question`; the answer in `answer`, `gold` or `final_answer`, or boxed in `solution`, and what stands before "####"
    in an answer is its derivation; `level` or `difficulty`; and the texts of a multiple choice in `choices` or
    `options`, where a whole number as the answer, if it is none of the texts, is the index of the right one. Problems
    of code have tests instead of an answer, by the columns of TACO, HumanEval or LiveCodeBench (see
    `data_prep.sandbox.forms`), which become `tests`, a text. Figures become `images`, see `as_problem`. Further columns
    travel along. Raises RowError, ValueError, FileNotFoundError.
    """
    if not benchmark.path:
        raise ValueError(f"benchmark {benchmark.name!r}: no home on the Hub is known: give {benchmark.name}=FILE")
    if benchmark.path == "small-world":
        return list(problem_rows(benchmark.split, n_problems or N_SMALL_WORLD)), 0  # type: ignore[arg-type]
    rows: dict[str, dict[str, Any]] = {}
    n_twice = 0
    dataset = DatasetConfig(benchmark.path, split=benchmark.split, config=benchmark.config)
    for block in open_blocks(dataset, kinds=("problem", "sample")):
        for where, row in read_block(block):
            level = row.get("level", row.get("difficulty"))
            if benchmark.level is not None:
                if level is None:
                    raise RowError(f"{where}: no 'level', by which {benchmark.name} is chosen; it has {sorted(row)}")
                if re.sub(r"(?i)level\s*|\.0$", "", str(level)) != benchmark.level:
                    continue
            if benchmark.only is not None and value_at(row, benchmark.only[0], where) != benchmark.only[1]:
                continue
            row = as_problem(row, where, figures=True, folder=folder_of(block.file))
            first = rows.setdefault(row["problem_id"], row)
            if first is not row:
                if not (first["answer"] == row["answer"] or same(first["answer"], row["answer"])):
                    raise RowError(
                        f"{where}: answer {row['answer']!r}, but {first['answer']!r} where the problem stood before"
                    )
                n_twice += 1
                if not quiet:
                    print(f"{where}: a problem that stood before, left out", file=sys.stderr)
            if len(rows) == n_problems:
                return list(rows.values()), n_twice
    if not rows:
        chosen = f" of level {benchmark.level}" if benchmark.level else ""
        chosen += f" with {' '.join(benchmark.only)!r}" if benchmark.only else ""
        raise ValueError(f"{benchmark.path}: no problems{chosen}")
    return list(rows.values()), n_twice


def read_problems(dataset: DatasetConfig, figures: bool = False) -> Iterator[dict[str, Any]]:
    """Problem rows of a data set, as `as_problem` makes them; `answer` is None where there is none.

    `source` is the data set's name where a row does not say. Raises RowError, ValueError, FileNotFoundError.
    """
    for block in open_blocks(dataset, kinds=("problem", "sample")):
        for where, row in read_block(block):
            problem = as_problem(row, where, False, figures, folder_of(block.file))
            source = row.get("source")
            yield problem | {"source": source if isinstance(source, str) and is_unicode(source) else dataset.path}


def value_at(row: Mapping[str, Any], path: str, where: str) -> Any:
    """What a dotted path of columns leads to. Raises RowError where a column is not there."""
    found: Any = row
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            raise RowError(f"{where}: no column {path!r}, by which problems are chosen; it has {sorted(row)}")
        found = found[name]
    return found


def folder_of(file: str) -> Path | None:
    """The folder from which paths of images in a file's rows start; None for what is no file."""
    return Path(file).parent if Path(file).exists() else None


def unique_problems(
    problems: Iterable[dict[str, Any]], figures: bool = False
) -> tuple[list[dict[str, Any]], Counter[str]]:  # fmt: skip
    """Each problem once, where it comes first, and how many are left out by reason.

    Of several answers the first one stays. Without `figures` a problem with an image is left out: a text alone does not
    ask it.
    """
    rows: dict[str, dict[str, Any]] = {}
    dropped: Counter[str] = Counter()
    for row in problems:
        if row.get("images") and not figures:
            dropped["has an image"] += 1
            continue
        first = rows.setdefault(row["problem_id"], row)
        if first is row:
            continue
        if first["answer"] is None:
            first["answer"] = row["answer"]
        a, b = first["answer"], row["answer"]
        other = b is not None and a != b and not same(a, b)
        dropped["problem stood before" + (", with another answer" if other else "")] += 1
    return list(rows.values()), dropped


def as_problem(
    row: Mapping[str, Any], where: str, answer_needed: bool = True, figures: bool = False, folder: Path | None = None
) -> dict[str, Any]:  # fmt: skip
    """A row with `problem_id`, `problem`, `answer`, `level` and `choices` in their own form; see `read_benchmark`.

    `figures`: `images` are read, from `folder` on where they are paths, and are part of the id; the columns of
    Geometry3K, MATH-Vision, MathVista, MathVerse and R1-V (GeoQA) are known. Else they stay as they are.
    Raises RowError, also where there is neither an answer nor tests and `answer_needed`.
    """
    level = row.get("level", row.get("difficulty"))
    text = row.get("problem") or row.get("question") or row.get("problem_text")
    images: list[bytes] = []
    if figures:
        images = images_of(row, folder, where)
        row = {name: value for name, value in row.items() if name not in IMAGE_COLUMNS} | {"images": images}
        text = with_figures(row, text, len(images)) if images else text
    choices = choices_of(row)
    answer, tests = answer_of(row, choices) or None, raw_tests(row)
    if tests is not None:
        text = text or row.get("question_content") or row.get("prompt")
        tests = tests if isinstance(tests, str) else json.dumps(tests, default=str)
        row = {name: value for name, value in row.items() if name not in TEST_COLUMNS} | {"tests": tests}
    if not isinstance(text, str) or (answer_needed and answer is None and tests is None):
        needs = "'answer', both with text" if answer_needed else "'answer' (or null)"
        raise RowError(f"{where}: needs the columns 'problem' (or 'question') and {needs}; it has {sorted(row)}")
    for what in (text, answer or "", str(level), *(choices or ())):
        if not is_unicode(what):
            raise RowError(f"{where}: {what[:40]!r} holds half a character (a lone surrogate)")
    own_id = problem_id("\n".join([text, *(choices or ())]), [pixel_hash(image, where) for image in images])
    return {**row, "problem_id": own_id, "problem": text, "answer": answer, "level": level, "choices": choices}


def with_figures(row: Mapping[str, Any], text: Any, n_images: int) -> Any:
    """The text of a problem with figures, with what MathVista says of its answer; a problem may stand in its picture
    alone (MathVerse). Where one image holds several numbered pictures (MATH-Vision), their places become names.
    """
    if not isinstance(text, str) or not text.strip():
        text = ALL_IN_THE_FIGURE
    if n_images == 1 and len(PLACE.findall(text)) > 1:
        text = PLACE.sub(lambda place: f"(image {place[1]})" if place[1] else "", text)
    if unit := row.get("unit"):
        text += f" (Unit: {unit})"
    precision = row.get("precision")
    if isinstance(precision, int | float) and precision >= 1 and row.get("answer_type") in (None, "float"):
        text += f" Give the answer with {precision:.0f} decimal place{'s' if precision > 1 else ''}."
    return text


def choices_of(row: Mapping[str, Any]) -> list[str] | None:
    """The texts of a multiple choice, in the order of their letters: from a list, from {"A": text, ...}, or from lines
    below "Choices:" in the question. None where they are no more than their own letters, as for pictures.
    """
    choices = row.get("choices") or row.get("options")
    if isinstance(choices, Mapping):
        choices = [choices[letter] for letter in sorted(choices)]
    if not choices and isinstance(question := row.get("question"), str):
        _, _, below = question.partition("Choices:")
        choices = [text for _, text in CHOICE_LINE.findall(below)]
    if isinstance(choices, str) or not isinstance(choices, Sequence) or len(choices) < 2:
        return None
    texts = [str(choice) for choice in choices]
    return None if texts == [chr(ord("A") + i) for i in range(len(texts))] else texts


def answer_of(row: Mapping[str, Any], choices: Sequence[str] | None = None) -> str | None:
    """The gold as text, or None if there is none."""
    for column in ("answer", "gold", "final_answer", "ground_truth"):
        value = row.get(column)
        if isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        if isinstance(value, bool | Mapping) or value is None or value != value:  # NaN: a hole in a table
            continue
        text = str(value).rpartition("####")[2].strip()
        if choices and isinstance(value, int) and text not in choices and 0 <= value < len(choices):
            return chr(ord("A") + value)
        return text
    solution = row.get("solution")
    if not isinstance(solution, str):
        return None
    in_tags = ANSWER_TAG.search(solution)  # R1-V
    return in_tags[1].strip() if in_tags else last_boxed(solution)


def with_choices(row: Mapping[str, Any]) -> str:
    """The problem as it is asked: with its choices below it, if it does not show them itself."""
    choices = row.get("choices")
    if not choices or all(choice in row["problem"] for choice in choices):
        return row["problem"]
    return "\n".join([row["problem"], *(f"({chr(ord('A') + i)}) {choice}" for i, choice in enumerate(choices))])


def as_asked(row: Mapping[str, Any]) -> str:
    """The problem as a model is asked it: with its choices or its starter code below it, if it does not show them."""
    code = row.get("starter_code")
    if row.get("tests") is None or not isinstance(code, str) or not code.strip() or code.strip() in row["problem"]:
        return with_choices(row)
    return f"{row['problem']}\n\n```python\n{code.rstrip()}\n```"


def group_column(problems: Sequence[Mapping[str, Any]], wanted: str | None) -> str | None:
    """The column by which results are grouped: the wanted one, else `band` or `level` where there is one."""
    return wanted or next((c for c in ("band", "level") if any(row.get(c) is not None for row in problems)), None)


def content_hash(problems: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of the problems' ids, answers and tests, in their order."""
    about = [[row["problem_id"], row["answer"], *([row["tests"]] if row.get("tests") else [])] for row in problems]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def refuse_trained_on(
    model: str, benchmark: str, problems: Sequence[Mapping[str, Any]], trained_on: set[str] | None = None
) -> None:
    """Raises ValueError if the model's folder records any of the problems as trained on.

    `trained_on`: the ids of these problems, where they are known from elsewhere.
    """
    if trained_on is None:
        trained_on = read_trained_on(model) if Path(model).is_dir() else set()
    seen = [row for row in problems if row["problem_id"] in trained_on]
    if seen:
        raise ValueError(
            f"{model} was trained on {len(seen)} of the {len(problems)} problems of {benchmark}, e.g. "
            f"{seen[0]['problem'][:60]!r}: a score on them would say nothing. Choose another benchmark"
        )


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores of response rows by benchmark, decoding and group (`all` first), each with a 95 % interval over problems.

    pass@k is the unbiased estimate (see `pass_at_k`), maj@k the average of `majority`. With several benchmarks each
    score is also averaged over them, under `average`, without an interval: the benchmarks are no sample of anything.
    """
    scores = []
    for benchmark in dict.fromkeys(row["benchmark"] for row in rows):
        here = [row for row in rows if row["benchmark"] == benchmark]
        order = list(dict.fromkeys(row["group"] for row in here))
        groups = ["all", *(group for group in order if group != "all")] if len(order) > 1 else ["all"]
        for decoding in dict.fromkeys(row["decoding"] for row in here):
            for group in groups:
                chosen = sorted(
                    (row for row in here if row["decoding"] == decoding and group in ("all", row["group"])),
                    key=lambda row: row["problem_id"],
                )
                if chosen:  # a decoding may have been used on other groups only
                    keys = {"benchmark": benchmark, "decoding": decoding, "group": group}
                    scores += [keys | score for score in scores_of(chosen)]
    return {"scores": scores, "average": averages(scores)}


def scores_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """pass@k and maj@k of responses to the same problems by the same decoding, sorted by problem."""
    from data_prep.statistics import mean_over_problems, pass_at_k, wilson  # slow to import

    problems = [[*responses] for _, responses in groupby(rows, key=lambda row: row["problem_id"])]
    right = [sum(row["verdict"] == "right" for row in responses) for responses in problems]
    n = min(len(responses) for responses in problems)
    counts = {
        "n_problems": len(problems),
        "n_samples": n,
        "mean_tokens": sum(row["n_tokens"] for row in rows) / len(rows),
        "truncated": sum(row["finish_reason"] == "length" for row in rows) / len(rows),
        "without_answer": sum(row["extracted"] is None for row in rows) / len(rows),
        "timed_out": sum(row["verdict"] == "timed out" for row in rows),
        "unverifiable": sum(row["verdict"] == "unverifiable" for row in rows),
    }
    ks = [2**i for i in range(MAX_K.bit_length()) if 2**i <= n]
    ks += [n] if n not in ks else []
    scores = []
    for k in ks:
        if all(len(responses) == 1 for responses in problems):
            estimate = wilson(sum(right), len(problems))
        else:
            shares = [pass_at_k(len(r), c, k) for r, c in zip(problems, right, strict=True)]
            estimate = mean_over_problems(shares, n // k)
        scores.append({"metric": f"pass@{k}", **asdict(estimate), **counts})
    if n > 2 and not any(row.get("rule") == "program" for row in rows):  # programs do not vote
        votes = [majority(responses, [k for k in ks if k > 2]) for responses in problems]
        for k in votes[0]:
            estimate = mean_over_problems([vote[k] for vote in votes], n // k)
            scores.append({"metric": f"maj@{k}", **asdict(estimate), **counts})
    return scores


def majority(responses: Sequence[Mapping[str, Any]], ks: Sequence[int]) -> dict[int, float]:
    """For each k the chance that the most frequent answer among k of a problem's responses is right.

    Answers that mean the same are one; responses without an answer do not vote; a tie counts by the share of its
    answers that are right. k of n responses are drawn without replacement: over 400 random orders, always the same.
    """
    kinds: list[tuple[str, bool]] = []
    votes = []
    for row in responses:
        answer, is_right = row["extracted"], row["verdict"] == "right"
        if answer is None:
            votes.append(-1)
            continue
        kind = next(
            (i for i, (a, r) in enumerate(kinds) if r == is_right and (r or a == answer or same(a, answer))), None
        )
        if kind is None:
            kind = len(kinds)
            kinds.append((answer, is_right))
        votes.append(kind)
    orders = np.random.default_rng(0).permuted(np.tile(votes, (N_ORDERS, 1)), axis=1)
    right = np.array([is_right for _, is_right in kinds] or [False])
    chances = {}
    for k in ks:
        drawn = orders[:1] if k == len(votes) else orders[:, :k]
        counted = np.stack([(drawn == kind).sum(1) for kind in range(len(right))], axis=1)
        top = (counted == counted.max(1, keepdims=True)) & (counted > 0)
        chances[k] = float(((top & right).sum(1) / np.maximum(top.sum(1), 1)).mean())
    return chances


def averages(scores: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean over benchmarks of the scores that all of them have."""
    names = {s["benchmark"] for s in scores}
    whole = [s for s in scores if s["group"] == "all"]
    found = Counter((s["decoding"], s["metric"]) for s in whole)
    return [
        {
            "decoding": decoding,
            "metric": metric,
            "mean": float(np.mean([s["mean"] for s in whole if (s["decoding"], s["metric"]) == (decoding, metric)])),
            "n_benchmarks": n,
        }
        for (decoding, metric), n in found.items()
        if n == len(names) > 1
    ]


def score(
    result: Mapping[str, Any],
    metric: str = "pass@1",
    group: str = "all",
    decoding: str = "greedy",
    benchmark: str | None = None,
) -> float:
    """One mean out of a result; of its first benchmark if none is named."""
    wanted = {"metric": metric, "group": group, "decoding": decoding}
    wanted |= {"benchmark": benchmark} if benchmark else {}
    return next(s["mean"] for s in result["scores"] if all(s[key] == value for key, value in wanted.items()))


def table(result: Mapping[str, Any]) -> str:
    """The scores as text, one line each, in percent."""
    width = max([len("benchmark"), *(len(s["benchmark"]) for s in result["scores"])])
    lines = [
        f"{'benchmark':{width}} {'decoding':9} {'group':10} {'metric':9} {'%':>6}  {'95 % interval':14} "
        f"{'problems':>8} {'tokens':>7} {'cut':>6} {'no answer':>9}"
    ]
    for s in result["scores"]:
        interval = f"{100 * s['low']:.1f} to {100 * s['high']:.1f}"
        lines.append(
            f"{s['benchmark']:{width}} {s['decoding']:9} {s['group']:10} {s['metric']:9} {100 * s['mean']:6.1f}  "
            f"{interval:14} {s['n_problems']:8,} {s['mean_tokens']:7,.0f} {100 * s['truncated']:5.1f}% "
            f"{100 * s['without_answer']:8.1f}%"
        )
    for s in result["average"]:
        lines.append(f"{'average':{width}} {s['decoding']:9} {'all':10} {s['metric']:9} {100 * s['mean']:6.1f}")
    for task, scores in result.get("general", {}).get("results", {}).items():
        shown = ", ".join(f"{name} {value:.3f}" for name, value in scores.items() if isinstance(value, float))
        lines.append(f"{task} (lm-eval): {shown}")
    left_out = {
        "timed out": sum(s["timed_out"] for s in result["scores"] if s["group"] == "all" and s["metric"] == "pass@1"),
        "with a gold or tests that cannot be verified": sum(
            s["unverifiable"] for s in result["scores"] if s["group"] == "all" and s["metric"] == "pass@1"
        ),
    }
    lines += [f"{n:,} responses {what}, counted as not right" for what, n in left_out.items() if n]
    return "\n".join(lines)
