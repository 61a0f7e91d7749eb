"""Training problems that stand in a benchmark: the same, nearly the same, inside a longer text, or with other numbers.

A problem is compared with every problem of the benchmarks in three ways: by its tokens (see `data_prep.curation.text`),
by the n-grams that it shares with one of them, and by the similarity of its characters with numbers masked. N-grams that
many problems of the benchmarks have ("find the number of ordered pairs of positive integers such that") count less: each
by one over the number of problems that it is in. 8-grams as in open-r1 and s1 (https://github.com/huggingface/open-r1).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from data_prep.curation.near import band_keys, jaccard, signatures
from data_prep.curation.text import masked, numbers, tokens

MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
SHORT_ITEM = 4  # tokens more than one n-gram, below which a problem is compared as a whole


@dataclass(frozen=True)
class Match:
    """What a problem has in common with a problem of a benchmark.

    `kind`: `exact` (the same tokens), `contained` (n-grams), `near` (similar, with the same numbers) or `renumbered`
    (similar, with other numbers). `strength`: 1 for exact; the weighted share of the benchmark problem's n-grams that
    the problem has; or the similarity. `item`: number of the problem in its benchmark, from 0.
    """

    benchmark: str
    item: int
    kind: str
    strength: float
    text: str


class BenchmarkIndex:
    """All problems of the benchmarks, to be matched against many.

    `items`: (benchmark, number, text). `n`: tokens of an n-gram. `threshold`: share of a benchmark problem's n-grams
    above which it counts as contained. `near`: similarity above which two problems are nearly the same.
    """

    def __init__(self, items: Sequence[tuple[str, int, str]], n: int = 8, threshold: float = 0.6, near: float = 0.75):
        self.items, self.n, self.threshold, self.near = list(items), n, threshold, near
        found = [tokens(text) for _, _, text in self.items]
        self.whole = [" ".join(some) for some in found]
        self.masked = [masked(some) for some in found]
        self.numbers = [numbers(some) for some in found]
        self.n_tokens = np.array([len(some) for some in found], np.int64)
        self.exact: dict[str, list[int]] = defaultdict(list)
        for item, text in enumerate(self.whole):
            self.exact[text].append(item)

        # N-grams, with the problems that they are in. A text that stands in several benchmarks is one text.
        lengths = np.where(self.n_tokens < n + SHORT_ITEM, self.n_tokens, n)
        self.lengths = sorted({int(length) for length in lengths if length > 0})
        self.grams: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self.total = np.zeros(len(found))
        text_of = np.unique(np.array(self.whole, dtype=object).astype(str), return_inverse=True)[1] if found else []
        for length in self.lengths:
            members = np.flatnonzero(lengths == length)
            hashes, owners = ngrams([found[i] for i in members], length)
            pairs = np.unique(np.stack([hashes.view(np.int64), members[owners]], axis=1), axis=0)
            by_text = np.unique(np.stack([pairs[:, 0], np.asarray(text_of)[pairs[:, 1]]], axis=1), axis=0)
            in_texts = dict(zip(*np.unique(by_text[:, 0], return_counts=True)))
            weights = np.array([1 / in_texts[gram] for gram in pairs[:, 0]])
            np.add.at(self.total, pairs[:, 1], weights)
            self.grams[length] = (pairs[:, 0], pairs[:, 1], weights)

        keys = band_keys(signatures(self.masked)) if found else np.zeros((0, 1), np.int64)
        order = np.argsort(keys.ravel(), kind="stable")
        self.band_keys, self.band_items = keys.ravel()[order], (order // keys.shape[1]).astype(np.int64)

    def match(self, problems: Sequence[list[str]], signature: np.ndarray) -> list[list[Match]]:
        """Matches of each problem, the strongest first; of each benchmark problem the strongest kind.

        `problems`: their tokens. `signature`: of their masked texts, uint32 (n, N_PERMUTATIONS).
        """
        found: list[dict[int, tuple[str, float]]] = [{} for _ in problems]
        if not self.items:
            return [[] for _ in problems]

        def add(problem: int, item: int, kind: str, strength: float) -> None:
            known = found[problem].get(item)
            if known is None or strength > known[1]:
                found[problem][item] = (kind, strength)

        for problem, item in self.similar(signature):
            text = masked(problems[problem])
            likeness = 1.0 if text == self.masked[item] else jaccard(text, self.masked[item])
            if likeness >= self.near:
                same = numbers(problems[problem]) == self.numbers[item]
                # Never 1, which is what an exact match has.
                add(problem, item, "near" if same else "renumbered", min(likeness, 0.999))
        for problem, item, share in self.contained(problems):
            add(problem, item, "contained", min(share, 0.999))
        for problem, some in enumerate(problems):
            for item in self.exact.get(" ".join(some), ()):
                add(problem, item, "exact", 1.0)
        matches = []
        for some in found:
            ordered = sorted(some.items(), key=lambda entry: (-entry[1][1], entry[0]))
            matches.append(
                [
                    Match(self.items[item][0], self.items[item][1], kind, round(strength, 3), self.items[item][2])
                    for item, (kind, strength) in ordered
                ]
            )
        return matches

    def similar(self, signature: np.ndarray) -> set[tuple[int, int]]:
        """Pairs (problem, item) that share a band."""
        keys = band_keys(signature)
        first = np.searchsorted(self.band_keys, keys.ravel(), "left")
        last = np.searchsorted(self.band_keys, keys.ravel(), "right")
        pairs = set()
        for position in np.flatnonzero(last > first):
            for item in self.band_items[first[position] : last[position]]:
                pairs.add((int(position) // keys.shape[1], int(item)))
        return pairs

    def contained(self, problems: Sequence[list[str]]) -> list[tuple[int, int, float]]:
        """(problem, item, share) where the share of the item's n-grams in the problem reaches the threshold."""
        result = []
        for length in self.lengths:
            hashes, owners = ngrams(problems, length)
            grams, items, weights = self.grams[length]
            known = np.unique(np.stack([hashes.view(np.int64), owners], axis=1), axis=0)
            first = np.searchsorted(grams, known[:, 0], "left")
            last = np.searchsorted(grams, known[:, 0], "right")
            shares: dict[tuple[int, int], float] = defaultdict(float)
            for position in np.flatnonzero(last > first):
                problem = int(known[position, 1])
                for entry in range(first[position], last[position]):
                    shares[problem, int(items[entry])] += weights[entry]
            for (problem, item), weight in shares.items():
                share = float(weight / self.total[item])
                if length != self.n:  # a short problem, found as a whole: how much of the text it is
                    share = length / len(problems[problem])
                if share >= self.threshold:
                    result.append((problem, item, share))
        return result


def ngrams(texts: Sequence[list[str]], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all n-grams of tokens, uint64 (n_grams,), and which text each is of, int64 (n_grams,)."""
    lengths = np.array([len(text) for text in texts], np.int64)
    hashed = {token: hash_token(token) for token in {token for text in texts for token in text}}
    flat = np.array([hashed[token] for text in texts for token in text], np.uint64)
    n_windows = max(len(flat) - n + 1, 0)
    hashes = np.zeros(n_windows, np.uint64)
    for i in range(n):
        hashes = (hashes ^ flat[i : i + n_windows]) * MULTIPLIER
        hashes ^= hashes >> np.uint64(31)
    owners = np.repeat(np.arange(len(texts)), lengths)
    if not n_windows:
        return hashes, owners[:0]
    inside = owners[:n_windows] == owners[n - 1 : n - 1 + n_windows]
    return hashes[inside], owners[:n_windows][inside]


def hash_token(token: str) -> int:
    return xxhash.xxh3_64_intdigest(token.encode("utf-8", "surrogatepass"))
