"""Training problems that stand in a benchmark: the same, nearly the same, inside a longer text, or with other numbers.

A problem is compared with every problem of the benchmarks in three ways: by its tokens (`data_prep.curation.text`), by
the n-grams that it shares with one of them, and by the similarity of its characters with numbers masked. N-grams that
many problems of the benchmarks have ("find the number of ordered pairs of positive integers such that") count less:
each by one over the number of problems that it is in. 8-grams, as open-r1 and s1 take them.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from data_prep.curation.near import band_keys, jaccard, signatures
from data_prep.curation.text import masked, numbers, tokens

MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
FILTER_BITS = 22
MAX = np.iinfo(np.int64).max
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


@dataclass(frozen=True)
class Grams:
    """N-grams of one length: hashes in rising order, int64 (n,), the item and the weight of each, and what `possible`
    says of them."""

    hashes: np.ndarray
    items: np.ndarray
    weights: np.ndarray
    possible: np.ndarray


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
        self.grams: dict[int, Grams] = {}
        self.total = np.zeros(len(found))
        text_of = np.array([self.exact[text][0] for text in self.whole], np.int64)
        for length in sorted({int(length) for length in lengths if length > 0}):
            members = np.flatnonzero(lengths == length)
            hashes, owners = next(iter(ngrams([found[i] for i in members], [length])))
            grams, owners_of = sorted_pairs(hashes, members[owners])
            once, _ = sorted_pairs(grams, text_of[owners_of])
            distinct, in_texts = np.unique(once, return_counts=True)
            weights = 1 / in_texts[np.searchsorted(distinct, grams)]
            np.add.at(self.total, owners_of, weights)
            self.grams[length] = Grams(grams, owners_of, weights, possible(grams))

        keys = band_keys(signatures(self.masked)) if found else np.zeros((0, 1), np.int64)
        order = np.argsort(keys.ravel(), kind="stable")
        self.band_keys, self.band_items = keys.ravel()[order], (order // keys.shape[1]).astype(np.int64)
        self.possible_bands = possible(self.band_keys)

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
        for entries in found:
            ordered = sorted(entries.items(), key=lambda entry: (-entry[1][1], entry[0]))
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
        pairs = set()
        for position in np.flatnonzero(self.possible_bands[low_bits(keys.ravel())]):
            key = keys.ravel()[position]
            first, last = np.searchsorted(self.band_keys, [key, key + 1]) if key < MAX else (0, 0)
            pairs |= {(int(position) // keys.shape[1], int(item)) for item in self.band_items[first:last]}
        return pairs

    def contained(self, problems: Sequence[list[str]]) -> list[tuple[int, int, float]]:
        """(problem, item, share) where the share of the item's n-grams in the problem reaches the threshold."""
        result = []
        for (length, known), (hashes, owners) in zip(self.grams.items(), ngrams(problems, list(self.grams))):
            hits = np.flatnonzero(known.possible[low_bits(hashes)])
            if not len(hits):
                continue
            grams, texts = sorted_pairs(hashes[hits], owners[hits])
            first = np.searchsorted(known.hashes, grams, "left")
            last = np.searchsorted(known.hashes, grams, "right")
            shares: dict[tuple[int, int], float] = defaultdict(float)
            for position in np.flatnonzero(last > first):
                for entry in range(first[position], last[position]):
                    shares[int(texts[position]), int(known.items[entry])] += known.weights[entry]
            for (problem, item), weight in shares.items():
                share = float(weight / self.total[item])
                if length != self.n:  # a short problem, found as a whole: how much of the text it is
                    share = length / len(problems[problem])
                if share >= self.threshold:
                    result.append((problem, item, share))
        return result


def ngrams(texts: Sequence[list[str]], lengths: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each length, which rise: hashes of all n-grams of tokens, int64 (n,), and the text that each is of."""
    sizes = np.array([len(text) for text in texts], np.int64)
    hashed = {token: hash_token(token) for token in {token for text in texts for token in text}}
    flat = np.array([hashed[token] for text in texts for token in text], np.uint64)
    owners = np.repeat(np.arange(len(texts)), sizes)
    left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(flat))  # tokens from here to the end of the text
    hashes, n = np.zeros(len(flat), np.uint64), 0
    for length in lengths:
        while n < length:  # one token more for each window
            hashes = hashes[: len(flat) - n] if n else hashes
            hashes = (hashes ^ flat[n:]) * MULTIPLIER
            hashes ^= hashes >> np.uint64(31)
            n += 1
        inside = left[: len(hashes)] >= length
        yield hashes[inside].view(np.int64), owners[: len(hashes)][inside]


def sorted_pairs(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs, by key."""
    order = np.lexsort((values, keys))
    keys, values = keys[order], values[order]
    new = np.ones(len(keys), bool)
    new[1:] = (keys[1:] != keys[:-1]) | (values[1:] != values[:-1])
    return keys[new], values[new]


def low_bits(hashes: np.ndarray) -> np.ndarray:
    return hashes & (2**FILTER_BITS - 1)


def possible(hashes: np.ndarray) -> np.ndarray:
    """Which low bits any of the hashes has, bool (2 ** FILTER_BITS,): most others are told by one look."""
    table = np.zeros(2**FILTER_BITS, bool)
    table[low_bits(hashes)] = True
    return table


def hash_token(token: str) -> int:
    return xxhash.xxh3_64_intdigest(token.encode("utf-8", "surrogatepass"))
