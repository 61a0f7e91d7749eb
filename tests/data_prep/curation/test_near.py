from random import Random

import numpy as np
from datasketch import MinHash

from data_prep.curation.near import N_BANDS, band_keys, hash_text, jaccard, shingles, signatures
from data_prep.curation.text import masked, tokens
from tests.data_prep.curation.planted import make, reworded


def test_shingles_do_not_cross_texts() -> None:
    hashes, starts = shingles(["abcdefg", "xy", "abcdefg"])
    assert starts.tolist() == [0, 3, 4, 7]
    assert hashes[:3].tolist() == hashes[4:].tolist()
    assert len(set(hashes.tolist())) == 4


def test_signature_depends_on_the_text_alone() -> None:
    texts = make(40)
    together = signatures(texts)
    assert np.array_equal(together, np.concatenate([signatures(texts[:7]), signatures(texts[7:])]))
    assert np.array_equal(together[3], signatures([texts[3]])[0])
    assert signatures([]).shape == (0, together.shape[1])


def test_similarity_is_that_of_another_library() -> None:
    """The share of equal numbers in two signatures estimates Jaccard similarity, as datasketch's does."""
    rng = Random(0)
    for text in make(20):
        other = reworded(text, rng)
        ours, theirs = signatures([text, other])
        exact = jaccard(text, other)
        oracle = [MinHash(120), MinHash(120)]
        for sketch, words in zip(oracle, (text, other)):
            for i in range(len(words) - 4):
                sketch.update(words[i : i + 5].encode())
        assert abs((ours == theirs).mean() - exact) < 0.18  # four standard errors of 120 permutations
        assert abs(oracle[0].jaccard(oracle[1]) - exact) < 0.18


def test_bands_find_small_edits() -> None:
    rng = Random(1)
    problems = [masked(tokens(text)) for text in make(300)]
    edited = [masked(tokens(reworded(text, rng))) for text in make(300)]
    shared = (band_keys(signatures(problems)) == band_keys(signatures(edited))).any(axis=1)
    assert shared.mean() > 0.98
    keys = band_keys(signatures(problems[:2]), np.array([1, 2]))
    assert keys.shape == (2, N_BANDS)
    assert not (keys == band_keys(signatures(problems[:2]), np.array([3, 4]))).any()  # other numbers, other bands


def test_hash_is_signed_and_stable() -> None:
    assert hash_text("a") == hash_text("a") != hash_text("b")
    assert all(-(2**63) <= hash_text(str(i)) < 2**63 for i in range(1000))
