"""The models of `data_prep.curation.scorer` and how each is fitted to labelled problems.

A model is called with texts and gives their difficulties, float64 (n,), not yet cut off at the ends of the scale.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.curation.text import drawing, masked, tokens

Array = NDArray[np.float64]
Predict = Callable[[Sequence[str]], Array]

WEIGHTS = "scorer.safetensors"
N_FEATURES = 2**18
PENALTIES = (0.3, 1.0, 3.0, 10.0)
N_FOLDS = 5
MEASURE_SCALE = 0.3  # of a measure with standard deviation 1 beside a text of length 1
CHUNK = 2048  # texts whose features are in memory at a time
BATCH = 32  # texts that the transformer reads at a time
# Any text: its features are stored with a model, which reads nonsense if the rules for texts or the hashing change.
PROBE = (
    "Let $a_1 = 3$ and $$a_{n+1} = \\dfrac{a_n}{2} + \\text{1,000}.$$ Prove that two terms are ≥ $\\sqrt{7}$ "
    "[asy] draw((0,0)--(1,2)); [/asy] 已知 x × y = 12."
)


@dataclass(frozen=True)
class Labelled:
    """A problem with its difficulty (1 to 10). `group`: its text without numbers, which decides what is held out."""

    data: str
    problem: str
    difficulty: float
    group: str


# The linear model


def features(problems: Sequence[str]) -> tuple[Any, Array]:
    """Counts of words and pairs of words (n, N_FEATURES), a CSR matrix; and measures of the text (n, n_measures).

    Both are exact or computed text by text, so that a text's features do not depend on its neighbours. n is at least 1.
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
    measures = [measure(words, text, problem) for words, text, problem in zip(found, texts, problems)]
    return vectorizer.transform(texts), np.array(measures)


def measure(words: Sequence[str], text: str, problem: str) -> list[float]:
    """What the numbers of words do not say well, from the tokens, their masked text and the code of the drawing."""
    # math.log1p, not numpy's: vectorised logarithms may differ in the last bit by position.
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


def probe() -> str:
    """A hash of the features of a fixed text."""
    counts, measures = features([PROBE])
    counts.sort_indices()
    told = [counts.indices.tolist(), counts.data.tolist(), [round(value, 6) for value in measures[0].tolist()]]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Linear:
    """Ridge regression on tf-idf and measures. The arrays are float64 with values of float32, as which they are saved.

    idf, words (the weights of tf-idf): (N_FEATURES,). mean, sd, first, second (the weights of standardised measures and
    of their squares): (n_measures,). base: (1,).
    """

    idf: Array
    words: Array
    mean: Array
    sd: Array
    first: Array
    second: Array
    base: Array

    @classmethod
    def fit(cls, counts: Any, measures: Array, difficulties: Array, penalty: float) -> "Linear":
        """counts, measures: what `features` gives for the problems, whose difficulties (n,) are to be learned."""
        from scipy import sparse
        from sklearn.linear_model import Ridge
        from threadpoolctl import threadpool_limits

        in_texts = np.bincount(counts.indices, minlength=N_FEATURES)
        # Rounded before the weights are learned, so that a scorer is the same before and after it is saved.
        idf = rounded(np.log((1 + counts.shape[0]) / (1 + in_texts)) + 1)
        mean, sd = rounded(measures.mean(0)), rounded(np.maximum(measures.std(0), 1e-6))
        inputs = sparse.hstack([tf_idf(counts, idf), sparse.csr_matrix(standardised(measures, mean, sd))]).tocsr()
        ridge = Ridge(alpha=penalty, solver="sparse_cg", tol=1e-5, max_iter=1000)
        with threadpool_limits(1):  # several threads add in another order, and weights differ in their last digits
            ridge.fit(inputs, difficulties)
        words, first, second = np.split(rounded(ridge.coef_), [N_FEATURES, N_FEATURES + len(mean)])
        return cls(idf, words, mean, sd, first, second, base=rounded(np.array([ridge.intercept_])))

    @classmethod
    def load(cls, folder: str | Path, settings: Mapping[str, Any]) -> "Linear":
        """The model of a scorer's folder. Raises ValueError if texts were read by other rules in training, or the file
        of weights is torn.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if settings["probe"] != probe():
            raise ValueError(f"{folder}: trained when problems were read by other rules: train the scorer again")
        try:
            arrays = load_file(Path(folder) / WEIGHTS)
        except SafetensorError as error:
            raise ValueError(f"{folder}: unreadable {WEIGHTS} ({error})") from None
        return cls(**{name: array.astype(np.float64) for name, array in arrays.items()})

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        save_file({name: array.astype(np.float32) for name, array in vars(self).items()}, folder / WEIGHTS)

    def __call__(self, problems: Sequence[str]) -> Array:
        chunks = (problems[start : start + CHUNK] for start in range(0, len(problems), CHUNK))
        return np.concatenate([np.empty(0), *(self.of_features(*features(chunk)) for chunk in chunks)])

    def of_features(self, counts: Any, measures: Array) -> Array:
        """Difficulties (n,) of problems whose `features` are given."""
        scores = tf_idf(counts, self.idf) @ self.words + self.base
        weights = np.concatenate([self.first, self.second])
        # Column by column: how a matrix product is summed depends on the number of rows.
        for column, weight in zip(standardised(measures, self.mean, self.sd).T, weights):
            scores = scores + column * weight
        return scores


def rounded(array: Array) -> Array:
    return array.astype(np.float32).astype(np.float64)


def tf_idf(counts: Any, idf: Array) -> Any:
    """A CSR matrix (n, N_FEATURES) from counts, which are taken logarithmically; each row has length 1."""
    from sklearn.preprocessing import normalize

    result = counts.copy()
    most = int(result.data.max(initial=1))
    logs = np.array([0.0, *(1 + math.log(n) for n in range(1, most + 1))])
    result.data = logs[result.data.astype(np.int64)] * idf[result.indices]
    return normalize(result, copy=False)


def standardised(measures: Array, mean: Array, sd: Array) -> Array:
    """Measures and their squares (n, 2 n_measures); beyond 3 sd a trend is not trusted."""
    z = np.clip((measures - mean) / sd, -3, 3)
    return MEASURE_SCALE * np.concatenate([z, z**2 - 1], axis=1)


def fit_linear(problems: Sequence[Labelled]) -> tuple[Linear, dict[str, Any]]:
    """The model, with the penalty that has the least squared error in a cross-validation, and its settings.

    Errors are averaged by data set first: the largest one does not decide alone. Raises ValueError if all problems are
    in one fold.
    """
    counts, measures = features([row.problem for row in problems])
    difficulties = np.array([row.difficulty for row in problems])
    names = np.array([row.data for row in problems])
    folds = np.array([fold_of(row.group) for row in problems])
    if len(np.unique(folds)) < 2:
        raise ValueError("too few problems that differ in more than numbers: nothing to learn from")
    errors = {}
    for penalty in PENALTIES:
        squared = np.empty(len(problems))
        for fold in np.unique(folds):
            inside, outside = folds != fold, folds == fold
            model = Linear.fit(counts[inside], measures[inside], difficulties[inside], penalty)
            squared[outside] = (model.of_features(counts[outside], measures[outside]) - difficulties[outside]) ** 2
        errors[penalty] = float(np.mean([squared[names == name].mean() for name in np.unique(names)]))
    best = min(errors, key=errors.__getitem__)
    settings = {
        "n_features": N_FEATURES,
        "penalty": best,
        "cross_validated_squared_error": {f"{penalty:g}": error for penalty, error in errors.items()},
        "probe": probe(),
    }
    return Linear.fit(counts, measures, difficulties, best), settings


def fold_of(group: str) -> int:
    """Fold of a cross-validation; other bits than those that decide what is held out (`scorer_training`)."""
    return int(hashlib.sha256(group.encode()).hexdigest()[15:30], 16) % N_FOLDS


def fit_length(problems: Sequence[Labelled]) -> Predict:
    """A baseline that sees the number of characters alone: Ridge on a cubic of its logarithm."""
    from sklearn.linear_model import Ridge

    def logs(texts: Sequence[str]) -> Array:
        return np.log1p([float(len(text)) for text in texts])

    texts = [row.problem for row in problems]
    mean, sd = logs(texts).mean(), max(logs(texts).std(), 1e-6)

    def powers(texts: Sequence[str]) -> Array:
        z = np.clip((logs(texts) - mean) / sd, -3, 3)
        return np.stack([z, z**2, z**3], axis=1)

    ridge = Ridge(alpha=1.0).fit(powers(texts), [row.difficulty for row in problems])
    return lambda texts: ridge.predict(powers(texts))


# The transformer


@dataclass(frozen=True)
class Finetuning:
    """Settings of the transformer; the learning rate is for a whole model of the size of BERT."""

    num_train_epochs: float = 3.0
    learning_rate: float = 2e-5
    per_device_train_batch_size: int = 16
    max_length: int = 512


@dataclass(frozen=True)
class Regressor:
    """A transformer with a regression head. `mean`, `sd`: of the difficulties that it was trained on."""

    model: Any
    tokenizer: Any
    mean: float
    sd: float
    max_length: int

    @classmethod
    def load(cls, folder: str | Path, settings: Mapping[str, Any]) -> "Regressor":
        """The model of a scorer's folder, in float32, on the GPU if there is one."""
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        return cls(model, tokenizer, settings["mean"], settings["sd"], settings["max_length"])

    def save(self, folder: Path) -> None:
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def __call__(self, problems: Sequence[str]) -> Array:
        """Texts of like length are read together; padding changes the last digits of float32 at most."""
        import torch

        self.model.eval()
        inputs = encode(self.tokenizer, problems, self.max_length)
        order = sorted(range(len(inputs)), key=lambda i: len(inputs[i]["input_ids"]))
        scores = np.empty(len(inputs))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
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
    problems: Sequence[Labelled], name: str, finetuning: Finetuning, seed: int
) -> tuple[Regressor, dict[str, Any]]:
    """The model, all weights trained by the squared error of standardised difficulties, and its settings."""
    import torch
    import transformers

    transformers.set_seed(seed)  # before loading, which draws the weights of the head
    tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
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
    with TemporaryDirectory() as unused:
        arguments = transformers.TrainingArguments(
            output_dir=unused,
            seed=seed,
            save_strategy="no",
            report_to=[],
            bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
            num_train_epochs=finetuning.num_train_epochs,
            learning_rate=finetuning.learning_rate,
            per_device_train_batch_size=finetuning.per_device_train_batch_size,
        )
        collator = transformers.DataCollatorWithPadding(tokenizer)
        transformers.Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collator).train()
    settings = {"model_name_or_path": name, "mean": mean, "sd": sd, **asdict(finetuning)}
    settings["n_at_max_length"] = sum(len(row["input_ids"]) >= finetuning.max_length for row in inputs)
    return Regressor(model, tokenizer, mean, sd, finetuning.max_length), settings
