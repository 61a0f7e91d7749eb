"""Which problems are one: steps over all problems, as pure functions of the rows that share a key.

Each step takes a table that holds all rows with some keys, whatever else, and gives a table. An engine brings the rows
together (see `data_prep.curation.local` and `ray_data`); nothing here looks at rows with other keys.
"""

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_prep.curation.near import N_BANDS, jaccard
from data_prep.curation.text import masked, tokens
from data_prep.equivalence.comparing import same

PAIRS = pa.schema({"key": pa.int64(), "other": pa.int64()})
HALF_PAIRS = pa.schema(
    {"key": pa.int64(), "other": pa.int64(), "row": pa.int64(), "problem": pa.string(), "gold": pa.string()}
)
EDGES = pa.schema(
    {
        "a": pa.int64(), "b": pa.int64(), "row_a": pa.int64(), "row_b": pa.int64(), "similarity": pa.float64(),
        "conflict": pa.bool_(),
    }
)  # fmt: skip
RENUMBERED = pa.schema({"group": pa.int64(), "of": pa.int64(), "of_row": pa.int64()})


def ints(table: pa.Table, column: str) -> np.ndarray:
    return table[column].combine_chunks().to_numpy(zero_copy_only=False)


def starts(*keys: np.ndarray) -> np.ndarray:
    """Where the rows of each new key begin, in rows sorted by their keys."""
    if not len(keys[0]):
        return np.zeros(0, np.int64)
    new = np.ones(len(keys[0]), bool)
    new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return np.flatnonzero(new)


def unique_problems(table: pa.Table) -> pa.Table:
    """Each problem once: its first row, with the first gold that any of its rows has. Key: `group`."""
    table = table.sort_by([("group", "ascending"), ("row", "ascending")])
    first = starts(ints(table, "group"))
    golds = table["gold"].to_pylist()
    ends = [*first[1:], len(golds)]
    known = [next((gold for gold in golds[a:b] if gold is not None), None) for a, b in zip(first, ends)]
    table = table.take(first)
    return table.set_column(table.schema.get_field_index("gold"), "gold", pa.array(known, pa.string()))


def exploded(table: pa.Table) -> pa.Table:
    """One line for each band of each problem: (key, other), `other` the problem. Keys: the bands."""
    bands = table["bands"].combine_chunks().flatten()
    return pa.table({"key": bands, "other": np.repeat(ints(table, "group"), N_BANDS)}, PAIRS)


def candidate_pairs(table: pa.Table) -> pa.Table:
    """Pairs of problems that share a band: each with the first of its band and with the one before it."""
    keys, problems = ints(table, "key"), ints(table, "other")
    order = np.lexsort((problems, keys))
    keys, problems = keys[order], problems[order]
    first = starts(keys)
    first_of = np.repeat(first, np.diff([*first, len(keys)]))
    here = np.flatnonzero(np.arange(len(keys)) != first_of)
    pairs = np.concatenate(
        [np.stack([problems[first_of[here]], problems[here]], 1), np.stack([problems[here - 1], problems[here]], 1)]
    )
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    return pa.table({"key": pairs[:, 0], "other": pairs[:, 1]}, PAIRS)


def with_key(table: pa.Table) -> pa.Table:
    """Problems by their group, to be joined with pairs."""
    return table.select(["group", "row", "problem", "gold"]).rename_columns(["key", "row", "problem", "gold"])


def first_half(table: pa.Table) -> pa.Table:
    """Pairs with the text of their first problem, and the second one as the key. Key: the first problem."""
    problems, pairs = split(table)
    found = np.unique(np.stack([ints(pairs, "key"), ints(pairs, "other")], 1), axis=0)
    at = position(problems, found[:, 0])
    chosen = problems.take(at)
    return pa.table(
        {
            "key": found[:, 1],
            "other": found[:, 0],
            **{name: chosen[name] for name in ("row", "problem", "gold")},
        },
        HALF_PAIRS,
    )


def split(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The problems and the pairs of a table that has both; the problems sorted by key."""
    is_pair = table["other"].is_valid()
    return table.filter(table["other"].is_null()).sort_by("key"), table.filter(is_pair)


def position(problems: pa.Table, keys: np.ndarray) -> np.ndarray:
    return np.searchsorted(ints(problems, "key"), keys) if len(problems) else np.zeros(0, np.int64)


def edges(table: pa.Table, similarity: float) -> pa.Table:
    """Pairs that are nearly the same. Key: the second problem.

    `conflict`: so they are, but their golds differ, and they are taken for two problems.
    """
    problems, pairs = split(table)
    pairs = pairs.sort_by([("key", "ascending"), ("other", "ascending")])
    theirs = problems.take(position(problems, ints(pairs, "key"))).to_pylist()
    found = []
    for ours, other in zip(pairs.to_pylist(), theirs):
        likeness = jaccard(masked(tokens(ours["problem"])), masked(tokens(other["problem"])))
        if likeness >= similarity:
            conflict = not may_agree(ours["gold"], other["gold"])
            found.append((ours["other"], ours["key"], ours["row"], other["row"], round(likeness, 4), conflict))
    return pa.Table.from_pylist([dict(zip(EDGES.names, edge)) for edge in found], EDGES)


def may_agree(a: str | None, b: str | None) -> bool:
    """Whether two golds can be those of one problem."""
    return a is None or b is None or a == b or same(a, b) is not False


def representatives(edges: pa.Table) -> pa.Table:
    """(group, canonical) of every problem that is nearly the same as an earlier one.

    Connected problems are one, and called by the one that comes first in the input. 40 bytes of memory for each edge.
    """
    edges = edges.filter(pa.compute.invert(edges["conflict"]))
    ends = np.concatenate([ints(edges, "a"), ints(edges, "b")])
    rows = np.concatenate([ints(edges, "row_a"), ints(edges, "row_b")])
    groups, first, which = np.unique(ends, return_index=True, return_inverse=True)
    rows = rows[first]
    half = len(ends) // 2
    graph = coo_array((np.ones(half, bool), (which[:half], which[half:])), (len(groups), len(groups)))
    component = connected_components(graph, directed=False)[1] if len(groups) else np.zeros(0, np.int64)
    order = np.lexsort((rows, component))
    begin = starts(component[order])
    canonical = np.empty(len(groups), np.int64)
    canonical[component[order][begin]] = groups[order][begin]  # by number of component
    table = pa.table({"group": groups, "canonical": canonical[component] if len(groups) else groups})
    return table.filter(pa.compute.not_equal(table["group"], table["canonical"]))


def renumbered(table: pa.Table) -> pa.Table:
    """Problems with the words of an earlier one and other numbers: (group, of, of_row). Key: `masked`."""
    table = table.sort_by([("masked", "ascending"), ("row", "ascending")])
    words, numbers, groups, rows = (ints(table, name) for name in ("masked", "numbers", "group", "row"))
    first = starts(words)
    first_of = np.repeat(first, np.diff([*first, len(words)]))
    here = np.flatnonzero(numbers != numbers[first_of]) if len(words) else first
    return pa.table({"group": groups[here], "of": groups[first_of[here]], "of_row": rows[first_of[here]]}, RENUMBERED)
