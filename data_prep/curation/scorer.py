"""How hard a problem is, from 1 to 10, told from its text by a model that has learned it from annotated problems.

RedStar scored problems by a model trained on the difficulty labels of MATH and Omni-MATH and kept the hard ones.

    python -m data_prep.curation.scorer train OUT --data math=train.jsonl --data omni=omni_math.jsonl
    python -m data_prep.curation.scorer score OUT problems.jsonl scored.jsonl

The scale is Omni-MATH's, which is that of AoPS: 1 for the first problems of a contest for beginners, 4 for the middle
of the AIME, 7 and above for olympiads. MATH has five levels that were given within its contests (AMC to AIME), and says
nothing about where they lie: each level gets a fixed value (LEVELS). They are set by hand from the contests that MATH
comes from. Learning them from text is no better founded: a model of Omni-MATH draws MATH, which looks different,
towards its own mean, and so levels linked that way lie too close to one another.

By default a linear model of the words and pairs of words, with numbers masked, and of eight measures such as the
length. It reads the normalised text of `data_prep.curation.text`, so how a source typesets its problems does not count.
With --model_name_or_path a transformer with a regression head is trained instead, which reads the text as it stands.

Problems with the same text but for numbers (in all files) are either all trained on or all held out. The table
that `train` prints is of the held-out ones: the model beside one of the length alone, fitted to the same problems or to
those of this data set only, and beside a linear model that has learned from the other data sets.
"""

import argparse
import hashlib
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.artefacts import (
    MANIFEST,
    atomic_folder,
    hash_path,
    library_versions,
    now,
    read_manifest,
    write_json,
    write_trained_on,
)
from data_prep.curation.text import drawing, masked, tokens
from data_prep.rows import RowError, is_unicode, problem_id
from data_prep.sources import DatasetConfig, open_blocks, read_block
from data_prep.statistics import Estimate, wilson

Array = NDArray[np.float64]
Predict = Callable[[Sequence[str]], Array]

STAGE = "difficulty_scorer"
WEIGHTS = "scorer.safetensors"
# A model of Omni-MATH alone puts MATH's levels at 1.7, 2.5, 3.2, 3.5 and 4.2, after its scores are stretched to the
# spread of difficulties: the same order and upper end.
LEVELS: Mapping[str, tuple[float, ...]] = {"math": (1.0, 1.5, 2.25, 3.0, 4.0)}
LOWEST, HIGHEST = 1.0, 10.0
NO_LABEL = re.compile(r"\s*(?:level\s*\?|\?|nan|null|none)?\s*", re.IGNORECASE)
LABEL = re.compile(r"\s*(?:level\s*|omni_)?(\d+(?:\.\d+)?)(?:_.*|\s*)", re.IGNORECASE | re.DOTALL)

N_FEATURES = 2**18
PENALTIES = (0.3, 1.0, 3.0, 10.0)
N_FOLDS = 5
MEASURE_SCALE = 0.3  # of a measure with standard deviation 1 beside a text of length 1
CHUNK = 2048  # texts whose features are in memory at a time
# Any text: its features are stored with a model, which reads nonsense if the rules for texts or the hashing change.
PROBE = (
    "Let $a_1 = 3$ and $$a_{n+1} = \\dfrac{a_n}{2} + \\text{1,000}.$$ Prove that two terms are ≥ $\\sqrt{7}$ "
    "[asy] draw((0,0)--(1,2)); [/asy] 已知 x × y = 12."
)
CUTS = (5.0, 5.5, 6.0)
HARD = 6.0  # RedStar's bound


@dataclass(frozen=True)
class Labelled:
    """A problem with its difficulty (1 to 10). `group`: its text without numbers, which decides what is held out."""

    data: str
    problem: str
    difficulty: float
    group: str


@dataclass(frozen=True)
class Finetuning:
    """Settings of the transformer; the learning rate is for a whole model of the size of BERT."""

    num_train_epochs: float = 3.0
    learning_rate: float = 2e-5
    per_device_train_batch_size: int = 16
    max_length: int = 512


# Labelled problems


def read_labelled(
    data: Mapping[str, str | Path], levels: Mapping[str, Sequence[float]] = LEVELS
) -> tuple[list[Labelled], dict[str, int]]:
    """Problems of all data sets (name -> path), and how many were left out, by reason.

    Columns: `problem` or `question`; the label in `difficulty`, `level` or `human_type`, where "Level 3" and
    "omni_3.0_imo" are 3. A label of a data set named in `levels` is a whole number k and means the k-th value there;
    others are on the scale already. Left out: no label (none, 0, "Level ?"), and what stands a second time in its data
    set.
    Raises RowError, ValueError, FileNotFoundError.
    """
    found: list[Labelled] = []
    left_out: Counter[str] = Counter()
    for name, path in data.items():
        ids: set[str] = set()
        for block in open_blocks(DatasetConfig(str(path)), kinds=("problem", "sample")):
            for where, row in read_block(block):
                text = row.get("problem") or row.get("question")
                if not isinstance(text, str) or not text.strip():
                    raise RowError(f"{where}: no text in 'problem' or 'question'; it has {sorted(row)}")
                if not is_unicode(text):
                    raise RowError(f"{where}: {text[:40]!r} holds half a character (a lone surrogate)")
                difficulty = difficulty_of(row, levels.get(name), where)
                if difficulty is None:
                    left_out[f"{name}: no label"] += 1
                elif (own := problem_id(text)) in ids:
                    left_out[f"{name}: stood before"] += 1
                else:
                    ids.add(own)
                    found.append(Labelled(name, text, difficulty, masked(tokens(text))))
        if not ids:
            raise ValueError(f"{path}: no problem with a label")
    return found, dict(left_out)


def difficulty_of(row: Mapping[str, Any], levels: Sequence[float] | None, where: str) -> float | None:
    """The row's label on the scale from 1 to 10, or None if it has none. Raises RowError for what is no label."""
    column = next((column for column in ("difficulty", "level", "human_type") if row.get(column) is not None), None)
    if column is None:
        return None
    said = str(row[column])
    if NO_LABEL.fullmatch(said):
        return None
    match = LABEL.fullmatch(said)
    if not match or isinstance(row[column], bool):
        raise RowError(f"{where}: {column!r} is {said[:40]!r}: no difficulty")
    value = float(match[1])
    if value == 0:
        return None
    if levels is not None:
        if value not in range(1, len(levels) + 1):
            raise RowError(f"{where}: {column!r} is {value:g}: levels here are 1 to {len(levels)} (see --levels)")
        return levels[int(value) - 1]
    if not LOWEST <= value <= HIGHEST:
        raise RowError(f"{where}: {column!r} is {value:g}: difficulties lie between {LOWEST:g} and {HIGHEST:g}")
    return value


def is_held_out(group: str, share: float) -> bool:
    """The same in every run and for every data set, so scorers of one share are tested on the same problems."""
    return int(hashlib.sha256(group.encode()).hexdigest()[:15], 16) / 16**15 < share


def fold_of(group: str) -> int:
    """Fold of a cross-validation; other bits than those that decide what is held out."""
    return int(hashlib.sha256(group.encode()).hexdigest()[15:30], 16) % N_FOLDS


# The linear model


def features(problems: Sequence[str]) -> tuple[Any, Array]:
    """Counts of words and pairs of words (n, N_FEATURES), a CSR matrix; and measures of the text (n, n_measures).

    Both are exact or computed text by text, so that a text's features do not depend on its neighbours.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    # A token is what stands between spaces, so the text is made of the tokens already.
    vectorizer = HashingVectorizer(
        token_pattern=r"\S+",
        ngram_range=(1, 2),
        n_features=N_FEATURES,
        norm=None,
        alternate_sign=False,
        lowercase=False,
    )
    found = [tokens(problem) for problem in problems]
    texts = [masked(words) for words in found]
    counts = vectorizer.transform(texts) if texts else vectorizer.transform([""])[:0]
    rows = [
        measures(words, text, problem) for words, text, problem in zip(found, texts, problems)
    ]  # math.log, not numpy's: vectorised logarithms may differ in the last bit by position
    return counts, np.array(rows, float).reshape(len(rows), -1)


def measures(words: Sequence[str], text: str, problem: str) -> list[float]:
    """What the numbers of words do not say well, from the tokens and the code of the drawing."""
    return [
        math.log1p(n)
        for n in (
            len(words),
            len(text),
            len(set(text.split())),
            sum(word[0].isdigit() for word in words),
            sum(word[0] == "\\" for word in words),
            words.count("="),
            sum(len(word) == 1 and word.isalpha() for word in words),  # variables
            len(drawing(problem)),
        )
    ]


class Linear:
    """Ridge regression on tf-idf and measures.

    `arrays`, all float32: idf, words (N_FEATURES,); mean, sd, first, second (n_measures,); base (1,).
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]]):
        self.stored = dict(arrays)
        self.arrays = {name: array.astype(np.float64) for name, array in arrays.items()}

    @classmethod
    def fit(cls, counts: Any, found: Array, difficulties: Array, penalty: float) -> "Linear":
        """counts, found: what `features` gives for the problems, whose difficulties (n,) are to be learned."""
        from scipy import sparse
        from sklearn.linear_model import Ridge
        from threadpoolctl import threadpool_limits

        in_texts = np.bincount(counts.indices, minlength=N_FEATURES)
        idf = np.log((1 + counts.shape[0]) / (1 + in_texts)) + 1
        arrays = {"idf": idf, "mean": found.mean(0), "sd": np.maximum(found.std(0), 1e-6)}
        # Rounded before the weights are learned, so that a scorer is the same before and after it is saved.
        arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
        unfinished = cls(arrays)
        inputs = sparse.hstack([unfinished.weighted(counts), sparse.csr_matrix(unfinished.standard(found))]).tocsr()
        ridge = Ridge(alpha=penalty, solver="sparse_cg", tol=1e-5, max_iter=1000)
        with threadpool_limits(1):  # several threads add in another order, and weights differ in their last digits
            ridge.fit(inputs, difficulties)
        words, first, second = np.split(ridge.coef_, [N_FEATURES, N_FEATURES + found.shape[1]])
        learned = {"words": words, "first": first, "second": second, "base": np.array([ridge.intercept_])}
        return cls(arrays | {name: array.astype(np.float32) for name, array in learned.items()})

    def weighted(self, counts: Any) -> Any:
        """tf-idf (n, N_FEATURES) with logarithmic counts, each row of length 1."""
        from sklearn.preprocessing import normalize

        result = counts.copy()
        most = int(result.data.max(initial=1))
        logs = np.array([0.0, *(1 + math.log(n) for n in range(1, most + 1))])
        result.data = logs[result.data.astype(np.int64)] * self.arrays["idf"][result.indices]
        return normalize(result, copy=False)

    def standard(self, found: Array) -> Array:
        """Measures and their squares (n, 2 n_measures), standardised; beyond 3 sd a trend is not trusted."""
        z = np.clip((found - self.arrays["mean"]) / self.arrays["sd"], -3, 3)
        return MEASURE_SCALE * np.concatenate([z, z**2 - 1], axis=1)

    def of_features(self, counts: Any, found: Array) -> Array:
        scores = self.weighted(counts) @ self.arrays["words"] + self.arrays["base"]
        weights = np.concatenate([self.arrays["first"], self.arrays["second"]])
        # Column by column: how a matrix product is summed depends on the number of rows.
        for column, weight in zip(self.standard(found).T, weights):
            scores = scores + column * weight
        return scores

    def __call__(self, problems: Sequence[str]) -> Array:
        chunks = (problems[start : start + CHUNK] for start in range(0, len(problems), CHUNK))
        return np.concatenate([np.empty(0), *(self.of_features(*features(chunk)) for chunk in chunks)])

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        save_file(self.stored, folder / WEIGHTS)


def fit_linear(problems: Sequence[Labelled], penalty: float | None = None) -> tuple[Linear, dict[str, Any]]:
    """The model and its settings. By default the penalty with the least squared error in a cross-validation.

    Errors are averaged by data set first: the largest one does not decide alone.
    """
    counts, found = features([row.problem for row in problems])
    difficulties = np.array([row.difficulty for row in problems])
    settings: dict[str, Any] = {"n_features": N_FEATURES, "penalty": penalty}
    if penalty is None:
        folds = np.array([fold_of(row.group) for row in problems])
        if len(set(folds.tolist())) < 2:
            raise ValueError("too few problems that differ in more than numbers: nothing to learn from")
        names = np.array([row.data for row in problems])
        errors = {}
        for penalty in PENALTIES:
            squared = np.empty(len(problems))
            for fold in np.unique(folds):
                inside, outside = folds != fold, folds == fold
                model = Linear.fit(counts[inside], found[inside], difficulties[inside], penalty)
                squared[outside] = (model.of_features(counts[outside], found[outside]) - difficulties[outside]) ** 2
            errors[penalty] = float(np.mean([squared[names == name].mean() for name in np.unique(names)]))
        penalty = min(errors, key=errors.__getitem__)
        settings |= {
            "penalty": penalty,
            "cross_validated_squared_error": {f"{key:g}": error for key, error in errors.items()},
        }
    return Linear.fit(counts, found, difficulties, penalty), settings


def fit_length(problems: Sequence[Labelled]) -> Predict:
    """A baseline that sees the number of characters alone: Ridge on a cubic of its logarithm."""
    from sklearn.linear_model import Ridge

    def logs(texts: Sequence[str]) -> Array:
        return np.log1p([float(len(text)) for text in texts])

    lengths = logs([row.problem for row in problems])
    mean, sd = lengths.mean(), max(float(lengths.std()), 1e-6)

    def powers(texts: Sequence[str]) -> Array:
        z = np.clip((logs(texts) - mean) / sd, -3, 3)
        return np.stack([z, z**2, z**3], axis=1)

    ridge = Ridge(alpha=1.0).fit(powers([row.problem for row in problems]), [row.difficulty for row in problems])
    return lambda texts: ridge.predict(powers(texts))


def probe() -> str:
    """A hash of the features of a fixed text."""
    counts, found = features([PROBE])
    counts.sort_indices()
    told = [counts.indices.tolist(), counts.data.tolist(), [round(value, 6) for value in found[0].tolist()]]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


# The transformer


class Regressor:
    """A transformer with a regression head. `mean`, `sd`: of the difficulties that it was trained on."""

    BATCH = 32

    def __init__(self, model: Any, tokenizer: Any, mean: float, sd: float, max_length: int):
        self.model, self.tokenizer, self.mean, self.sd, self.max_length = model, tokenizer, mean, sd, max_length

    def __call__(self, problems: Sequence[str]) -> Array:
        """Texts of like length are read together; padding changes the last digits of float32 at most."""
        import torch

        self.model.eval()
        inputs = encode(self.tokenizer, problems, self.max_length)
        order = sorted(range(len(inputs)), key=lambda i: len(inputs[i]["input_ids"]))
        scores = np.empty(len(inputs))
        for start in range(0, len(order), self.BATCH):
            chosen = order[start : start + self.BATCH]
            batch = self.tokenizer.pad([inputs[i] for i in chosen], return_tensors="pt").to(self.model.device)
            with torch.inference_mode():
                scores[chosen] = self.model(**batch).logits[:, 0].double().cpu().numpy()
        return self.mean + self.sd * scores


def encode(tokenizer: Any, problems: Sequence[str], max_length: int) -> list[dict[str, list[int]]]:
    """Ids and mask of each text; what lies beyond `max_length` tokens is cut off. A blank text is its end token."""
    encoded = []
    for problem in problems:
        ids = tokenizer(problem, truncation=True, max_length=max_length)["input_ids"] or [tokenizer.eos_token_id or 0]
        encoded.append({"input_ids": ids, "attention_mask": [1] * len(ids)})
    return encoded


def fit_regressor(
    problems: Sequence[Labelled], name: str, finetuning: Finetuning, seed: int, folder: Path
) -> tuple[Regressor, dict[str, Any]]:
    """Trains all weights by the squared error of standardised difficulties and saves model and tokenizer."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(seed)  # before loading, which draws the weights of the head
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForSequenceClassification.from_pretrained(
        name,
        num_labels=1,
        problem_type="regression",
        dtype=torch.float32,
        ignore_mismatched_sizes=True,  # a head for several classes is replaced
        trust_remote_code=False,
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    difficulties = np.array([row.difficulty for row in problems])
    mean, sd = float(difficulties.mean()), max(float(difficulties.std()), 1e-6)
    inputs = encode(tokenizer, [row.problem for row in problems], finetuning.max_length)
    rows = [{**row, "labels": float(label)} for row, label in zip(inputs, (difficulties - mean) / sd)]
    options = {key: value for key, value in asdict(finetuning).items() if key != "max_length"}
    with TemporaryDirectory() as unused:
        arguments = TrainingArguments(
            output_dir=unused,
            seed=seed,
            save_strategy="no",
            report_to=[],
            bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
            **options,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=rows,  # type: ignore[arg-type, unused-ignore]
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.train()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {"model_name_or_path": name, "mean": mean, "sd": sd, **asdict(finetuning)}
    settings["n_at_max_length"] = sum(len(row["input_ids"]) >= finetuning.max_length for row in inputs)
    return Regressor(model, tokenizer, mean, sd, finetuning.max_length), settings


def load_regressor(folder: str | Path, settings: Mapping[str, Any]) -> Regressor:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return Regressor(model, tokenizer, settings["mean"], settings["sd"], settings["max_length"])


# Both


class Scorer:
    """A model of difficulty, with the manifest of its folder."""

    def __init__(self, predict: Predict, manifest: Mapping[str, Any]):
        self.predict, self.manifest = predict, manifest

    @classmethod
    def load(cls, folder: str | Path) -> "Scorer":
        """A scorer of either kind. Raises FileNotFoundError, ValueError."""
        manifest = read_manifest(folder)
        if manifest is None:
            raise FileNotFoundError(f"{folder}: no {MANIFEST} there: make a scorer by data_prep.curation.scorer train")
        if manifest.get("stage") != STAGE or manifest.get("model") not in ("linear", "transformer"):
            raise ValueError(f"{folder}: no scorer (its manifest is that of {manifest.get('stage')!r})")
        if manifest["model"] == "transformer":
            return cls(load_regressor(folder, manifest["settings"]), manifest)
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if manifest["settings"]["probe"] != probe():
            raise ValueError(f"{folder}: trained when problems were read by other rules: train the scorer again")
        try:
            return cls(Linear(load_file(Path(folder) / WEIGHTS)), manifest)
        except SafetensorError as error:
            raise ValueError(f"{folder}: unreadable {WEIGHTS} ({error})") from None

    def score(self, problems: Sequence[str]) -> Array:
        """Difficulties (n,) between 1 and 10 of the problems' texts. Raises ValueError for what is no text.

        They are expectations, so they vary less than difficulties do: of the problems that are above 6, many score
        between 5 and 6. The manifest's `hard` says what a bound on the score finds.
        """
        if isinstance(problems, str):
            raise ValueError("give a list of problems, not a single text")
        problems = list(problems)
        for i, problem in enumerate(problems):
            if not isinstance(problem, str):
                raise ValueError(f"problem {i} is {type(problem).__name__}, expected text")
            if not is_unicode(problem):
                raise ValueError(f"problem {i}: {problem[:40]!r} holds half a character (a lone surrogate)")
        return np.clip(self.predict(problems), LOWEST, HIGHEST)


def train(
    out: str | Path,
    data: Mapping[str, str | Path],
    *,
    levels: Mapping[str, Sequence[float]] = LEVELS,
    held_out: float = 0.2,
    model_name_or_path: str | None = None,
    finetuning: Finetuning | None = None,
    seed: int = 0,
    n_bootstrap: int = 2000,
) -> dict[str, Any]:
    """Trains a scorer on data sets (name -> path), writes its folder and returns its manifest.

    levels: values of the levels 1, 2, ... of a data set that is not on the scale yet. held_out: share of the groups of
    problems that are not trained on but scored, see `compare`. seed: of the bootstrap and of the transformer; the
    linear model has no chance in it. Raises ValueError, FileNotFoundError, FileExistsError.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out}: a share between 0 and 1")
    if finetuning and not model_name_or_path:
        raise ValueError("settings of a transformer have no effect without model_name_or_path")
    for name, values in levels.items():
        if not all(LOWEST <= value <= HIGHEST for value in values) or list(values) != sorted(values):
            raise ValueError(f"levels of {name} are {list(values)}: give rising values between 1 and 10")
    started = now()
    with atomic_folder(out) as folder:
        problems, left_out = read_labelled(data, levels)
        learned = [row for row in problems if not is_held_out(row.group, held_out)]
        kept = [row for row in problems if is_held_out(row.group, held_out)]
        for name in data:
            n = [sum(row.data == name for row in part) for part in (learned, kept)]
            if min(n) < 2:
                raise ValueError(f"{data[name]}: {n[0]} problems to learn from, {n[1]} held out: too few")
        predict: Predict
        if model_name_or_path:
            predict, settings = fit_regressor(learned, model_name_or_path, finetuning or Finetuning(), seed, folder)
        else:
            linear, settings = fit_linear(learned)
            linear.save(folder)
            predict, settings = linear, settings | {"probe": probe()}
        length = fit_length(learned)
        others: dict[str, dict[str, Predict]] = {}
        for name in data:
            own, elsewhere = ([row for row in learned if (row.data == name) == same] for same in (True, False))
            others[name] = {"length": length, "length, own data": fit_length(own)}
            if elsewhere and not model_name_or_path:  # a second transformer would cost as much as the first
                others[name]["model, other data"], _ = fit_linear(elsewhere, settings["penalty"])
        manifest = {
            "stage": STAGE,
            "kind": "scorer",
            "model": "transformer" if model_name_or_path else "linear",
            "config": {
                "data": {name: str(path) for name, path in data.items()},
                "levels": {name: list(values) for name, values in levels.items() if name in data},
                "held_out": held_out,
            },
            "seed": seed,
            "settings": settings,
            "inputs": {str(path): hash_path(path) for path in data.values()},
            "rows_in": len(problems) + sum(left_out.values()),
            "rows_out": len(learned),
            "rows_dropped": left_out | {"held out": len(kept)},
            "held_out": compare(kept, predict, others, seed, n_bootstrap),
            "hard": hard(kept, predict),
            "started": started,
            "ended": now(),
            "libraries": library_versions()
            | {name: version(name) for name in ("numpy", "scikit-learn", "safetensors")},
        }
        write_trained_on(folder, [problem_id(row.problem) for row in learned])
        write_json(folder / MANIFEST, manifest)
    return manifest


# How good it is


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's, 0 if one of them is constant."""
    from scipy.stats import rankdata

    first, second = rankdata(a), rankdata(b)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def correlations(
    difficulties: Array, scores: Mapping[str, Array], seed: int, n_bootstrap: int
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Spearman of each scores (n,) with the difficulties (n,), and of the first minus that of each further one.

    95 % percentile intervals of a bootstrap over problems; all are computed in the same samples, so differences are
    paired.
    """
    rng = np.random.default_rng(seed)
    n = len(difficulties)

    def values(chosen: Any) -> list[float]:
        first, *rest = (rank_correlation(difficulties[chosen], one[chosen]) for one in scores.values())
        return [first, *rest, *(first - one for one in rest)]

    means = values(slice(None))
    drawn = np.array([values(rng.integers(0, n, n)) for _ in range(n_bootstrap)])
    lows, highs = np.percentile(drawn, [2.5, 97.5], axis=0).tolist()
    method = f"bootstrap over problems, {n_bootstrap} samples, percentiles"
    found = [Estimate(mean, low, high, n, method) for mean, low, high in zip(means, lows, highs, strict=True)]
    names = list(scores)
    return dict(zip(names, found)), dict(zip(names[1:], found[len(names) :], strict=True))


def compare(
    kept: Sequence[Labelled],
    predict: Predict,
    others: Mapping[str, Mapping[str, Predict]],
    seed: int,
    n_bootstrap: int,
) -> dict[str, dict[str, Any]]:
    """For each data set, on its held-out problems: Spearman of the model and of the `others` (data set -> what it is ->
    model), by how much the model's is higher, and the model's mean absolute error.
    """
    result = {}
    for name in dict.fromkeys(row.data for row in kept):
        texts = [row.problem for row in kept if row.data == name]
        difficulties = np.array([row.difficulty for row in kept if row.data == name])
        # As `Scorer.score` gives them: what is cut off at the ends of the scale are ties.
        models: dict[str, Predict] = {"model": predict, **others[name]}
        scores = {what: np.clip(model(texts), LOWEST, HIGHEST) for what, model in models.items()}
        each, differences = correlations(difficulties, scores, seed, n_bootstrap)
        result[name] = {
            "n": len(texts),
            "spearman": {what: asdict(estimate) for what, estimate in each.items()},
            "model_minus": {what: asdict(estimate) for what, estimate in differences.items()},
            "mean_absolute_error": float(np.abs(scores["model"] - difficulties).mean()),
        }
    return result


def hard(kept: Sequence[Labelled], predict: Predict) -> list[dict[str, Any]]:
    """What a bound on the score finds of the held-out problems that are harder than 6, by data set that has some.

    precision: share of the chosen that are; recall: share of them that are chosen. Wilson's intervals.
    """
    result = []
    for name in dict.fromkeys(row.data for row in kept):
        rows = [row for row in kept if row.data == name]
        is_hard = np.array([row.difficulty > HARD for row in rows])
        scores = predict([row.problem for row in rows])
        for cut in CUTS if is_hard.any() else ():
            chosen = scores > cut
            both = int((chosen & is_hard).sum())
            result.append(
                {
                    "data": name,
                    "cut": cut,
                    "share_hard": float(is_hard.mean()),
                    "share_chosen": float(chosen.mean()),
                    "precision": asdict(wilson(both, int(chosen.sum()))),
                    "recall": asdict(wilson(both, int(is_hard.sum()))),
                }
            )
    return result


def table(manifest: Mapping[str, Any]) -> str:
    """The held-out results of a manifest as text."""
    dropped = ", ".join(f"{n:,} {reason}" for reason, n in manifest["rows_dropped"].items())
    lines = [f"{manifest['rows_in']:,} problems read, {manifest['rows_out']:,} learned from; not: {dropped}", ""]
    lines.append(f"{'held out':18} problems  {'':17} Spearman, 95 % interval    model minus this")
    for name, found in manifest["held_out"].items():
        for what, estimate in found["spearman"].items():
            line = f"{name:18} {found['n']:8,}  {what:17} {with_interval(estimate):27}"
            line += with_interval(found["model_minus"][what]) if what in found["model_minus"] else ""
            lines.append(line.rstrip())
        lines.append(f"{name:18} {found['n']:8,}  {'mean |error|':17} {found['mean_absolute_error']:6.3f}")
    if manifest["hard"]:
        lines += ["", f"{'difficulty > 6':18} {'score >':>8}  chosen  precision, 95 % interval  recall, 95 % interval"]
    for found in manifest["hard"]:
        precision, recall = (
            f"{100 * e['mean']:5.1f} % ({100 * e['low']:.1f} to {100 * e['high']:.1f})"
            for e in (found["precision"], found["recall"])
        )
        name = f"{found['data']} ({100 * found['share_hard']:.1f} %)"
        lines.append(f"{name:18} {found['cut']:8g}  {100 * found['share_chosen']:4.1f} %  {precision:24}  {recall}")
    return "\n".join(lines)


def with_interval(estimate: Mapping[str, Any]) -> str:
    return f"{estimate['mean']:+.3f} ({estimate['low']:+.3f} to {estimate['high']:+.3f})"


# The command line


def score_file(folder: str | Path, path: str, out: str | Path) -> int:
    """Writes problem_id, problem and score of each row of a data file as JSONL; returns their number."""
    scorer = Scorer.load(folder)
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists already: choose another name or remove it")
    temporary = out.with_name(f".{out.name}.tmp-{os.getpid()}")
    n = 0
    try:
        with temporary.open("w", encoding="utf-8") as lines:
            for texts in text_chunks(path):
                for text, score in zip(texts, scorer.score(texts).tolist()):
                    row = {"problem_id": problem_id(text), "problem": text, "score": round(score, 4)}
                    lines.write(json.dumps(row, ensure_ascii=False) + "\n")
                n += len(texts)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return n


def text_chunks(path: str) -> Iterator[list[str]]:
    """The problems of a data file, in lists of up to CHUNK. Raises RowError for rows without one."""
    texts: list[str] = []
    for block in open_blocks(DatasetConfig(path), kinds=("problem", "sample")):
        for where, row in read_block(block):
            text = row.get("problem") or row.get("question")
            if not isinstance(text, str) or not is_unicode(text):
                raise RowError(f"{where}: no text in 'problem' or 'question'; it has {sorted(row)}")
            texts.append(text)
            if len(texts) == CHUNK:
                yield texts
                texts = []
    if texts:
        yield texts


def pairs(given: Sequence[str], flag: str, form: str) -> dict[str, str]:
    """name=value arguments as a dict. Raises ValueError."""
    result: dict[str, str] = {}
    for one in given:
        name, sign, value = one.partition("=")
        if not (name and sign and value):
            raise ValueError(f"{flag} {one}: give {form}")
        if name in result:
            raise ValueError(f"{flag} {one}: {name} is given twice")
        result[name] = value
    return result


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.curation.scorer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("train", help="learn from annotated problems", allow_abbrev=False).add_argument
    math_levels = ",".join(f"{value:g}" for value in LEVELS["math"])
    add("out", help="new folder of the scorer")
    add("--data", action="append", required=True, metavar="NAME=PATH", help="annotated problems; several times")
    add(
        "--levels", action="append", default=[], metavar="NAME=VALUES",
        help=f"values of the levels 1, 2, ... of a data set on the scale (default: math={math_levels})",
    )  # fmt: skip
    add("--held_out", type=float, default=0.2, help="share of the problems that is not trained on (default: 0.2)")
    add("--seed", type=int, default=0, help="of the bootstrap and of a transformer's training (default: 0)")
    add("--model_name_or_path", help="train this transformer with a regression head, instead of the linear model")
    for name, default in asdict(Finetuning()).items():
        add(f"--{name}", type=type(default), help=f"of the transformer (default: {default:g})")
    add = commands.add_parser("score", help="score a file of problems", allow_abbrev=False).add_argument
    add("folder", help="folder of a scorer")
    add("file", help="problems: a file, folder or Hub name")
    add("out", help="new JSONL file with problem_id, problem and score")
    return parser


def run(args: argparse.Namespace) -> None:
    if args.command == "score":
        print(f"{score_file(args.folder, args.file, args.out):,} problems scored in {args.out}")
        return
    data = pairs(args.data, "--data", "NAME=PATH")
    levels: dict[str, Sequence[float]] = dict(LEVELS)
    for name, values in pairs(args.levels, "--levels", "NAME=1,1.5,...").items():
        if name not in data:
            raise ValueError(f"--levels {name}: no data set of this name; there are {', '.join(data)}")
        try:
            levels[name] = [float(value) for value in values.split(",")]
        except ValueError:
            raise ValueError(f"--levels {name}={values}: give numbers, as in {name}=1,1.5,2") from None
    given = {name: value for name in asdict(Finetuning()) if (value := getattr(args, name)) is not None}
    if given and not args.model_name_or_path:
        raise ValueError(f"--{next(iter(given))} has no effect without --model_name_or_path")
    manifest = train(
        args.out,
        data,
        levels=levels,
        held_out=args.held_out,
        model_name_or_path=args.model_name_or_path,
        finetuning=Finetuning(**given) if given else None,
        seed=args.seed,
    )
    print(table(manifest))
    print(f"\nThe scorer is in {args.out}")


def main() -> None:
    args = parser().parse_args()
    try:
        run(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
