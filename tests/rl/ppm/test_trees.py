"""Trees in one row: what sees what, and the same scores and gradients as path by path."""

from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl.ppm.attention import KeyCache, TreeLayout, block_mask, no_mask, visible
from rl.ppm.data import leaf_paths
from rl.ppm.trees import StepTree, forest
from tests.rl.ppm.conftest import ppm_of


@st.composite
def trees(draw: Any) -> tuple[list[int], list[int]]:
    """Lengths and parents of a forest in depth-first order, empty nodes among them."""
    parents = [-1]
    for node in range(1, draw(st.integers(1, 12))):
        path = [-1]  # a new tree, or below the last node or one before it on its path
        above = node - 1
        while above >= 0:
            path.append(above)
            above = parents[above]
        parents.append(draw(st.sampled_from(path)))
    return draw(st.lists(st.integers(0, 4), min_size=len(parents), max_size=len(parents))), parents


def paths_of(lengths: list[int], parents: list[int]) -> list[list[int]]:
    """For each token the tokens that it sees, by going up the tree."""
    start = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    seen = []
    for node in range(len(lengths)):
        for token in range(start[node], start[node + 1]):
            own, above = list(range(start[node], token + 1)), parents[node]
            while above >= 0:
                own += range(start[above], start[above + 1])
                above = parents[above]
            seen.append(sorted(own))
    return seen


@given(trees())
def test_a_token_sees_its_path_and_nothing_else(tree: tuple[list[int], list[int]]) -> None:
    lengths, parents = tree
    n = sum(lengths)
    row = forest(list(range(n)), lengths, parents)
    expected = paths_of(lengths, parents)
    dense = visible(row)
    assert [dense[i].nonzero().flatten().tolist() for i in range(n)] == expected
    assert row.position == [len(seen) - 1 for seen in expected]
    by_run: list[list[int]] = []
    for run in row.runs:
        before = [token for start, stop in run.before for token in range(start, stop)]
        by_run += [sorted(before + list(range(run.start, token + 1))) for token in range(run.start, run.stop)]
    assert by_run == expected
    if n:
        blocks = block_mask(torch.tensor(row.subtree_end))
        token = torch.arange(n)
        assert torch.equal(blocks.mask_mod(token, token, token[:, None], token[None]), dense)


@given(trees(), st.integers(0, 11))
def test_a_row_can_go_on_below_what_was_read_before(tree: tuple[list[int], list[int]], cut: int) -> None:
    lengths, parents = tree
    whole = forest(list(range(sum(lengths))), lengths, parents)
    cut = min(cut, len(lengths))
    first = forest(list(range(sum(lengths[:cut]))), lengths[:cut], parents[:cut])
    depth = [0] * len(lengths)
    for i, parent in enumerate(parents):
        depth[i] = lengths[i] + (depth[parent] if parent >= 0 else 0)
    above = {i - cut: (first.path[parents[i]], depth[parents[i]]) for i in range(cut, len(parents))
             if 0 <= parents[i] < cut}  # fmt: skip
    rest = forest(list(range(sum(lengths[cut:]))), lengths[cut:],
                  [p - cut if p >= cut else -1 for p in parents[cut:]], sum(lengths[:cut]), above)  # fmt: skip
    assert first.position + rest.position == whole.position

    def tokens(path: tuple[tuple[int, int], ...]) -> list[int]:
        return [token for start, stop in path for token in range(start, stop)]

    assert [tokens(path) for path in first.path + rest.path] == [tokens(path) for path in whole.path]


def random_row(seed: int, n_nodes: int = 14, vocabulary: int = 768) -> dict[str, Any]:
    rng = Random(seed)
    tree = StepTree.begin([rng.randrange(20, vocabulary) for _ in range(9)])
    for i in range(1, n_nodes):
        tree.add(rng.randrange(i), str(i), [rng.randrange(20, vocabulary) for _ in range(rng.randint(1, 12))])
    order = tree.depth_first(range(n_nodes))
    number = {node: i for i, node in enumerate(order)}
    return {
        "ids": [token for node in order for token in tree.ids[node]],
        "length": [len(tree.ids[node]) for node in order],
        "parent": [number.get(tree.parent[node], -1) for node in order],
    }


def logits(model: Any, row: dict[str, Any], attention: str) -> torch.Tensor:
    """The logits of all tokens of a row: as a tree run by run, by a dense mask, or each path by itself."""
    grown = forest(row["ids"], row["length"], row["parent"])
    ids, position = torch.tensor(row["ids"])[None], torch.tensor(grown.position)[None]
    if attention == "paths":
        found: dict[int, torch.Tensor] = {}
        for path in leaf_paths(row):
            out = model(torch.tensor([[row["ids"][token] for token in path]]), use_cache=False).logits[0, :, 0]
            for token, value in zip(path, out, strict=True):
                found.setdefault(token, value)
        return torch.stack([found[token] for token in range(len(row["ids"]))])
    ways: dict[str, dict[str, Any]] = {
        "tree": {"attention_mask": no_mask(), "tree": TreeLayout(grown.runs)},
        "dense": {"attention_mask": visible(grown)[None, None]},
        "flex_attention": {"attention_mask": block_mask(torch.tensor(grown.subtree_end))},
    }
    return model(ids, position_ids=position, use_cache=False, **ways[attention]).logits[0, :, 0]


@pytest.mark.parametrize("seed", range(3))
def test_tree_dense_mask_and_paths_give_the_same_scores_and_gradients(ppm: Any, seed: int) -> None:
    model, row = ppm[0], random_row(seed)
    found = {}
    for attention in ("paths", "dense", "tree"):
        model.zero_grad()
        out = logits(model, row, attention)
        (out * torch.linspace(-1, 1, len(out))).sum().backward()
        found[attention] = out.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])
    assert found["paths"][0].std() > 0.1
    for attention in ("dense", "tree"):
        assert (found[attention][0] - found["paths"][0]).abs().max() < 1e-5
        difference = (found[attention][1] - found["paths"][1]).norm() / found["paths"][1].norm()
        assert difference < 1e-5


def test_flex_attention_reads_the_same_trees(ppm: Any) -> None:
    model, row = ppm[0], random_row(3)
    expected = logits(model, row, "paths").detach()
    model.set_attn_implementation("flex_attention")
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # compiled for a CPU it takes a minute
            found = logits(model.eval(), row, "flex_attention")
    finally:
        model.set_attn_implementation("tree")
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_trees_train_on_a_gpu_as_path_by_path() -> None:
    """FlexAttention with its backward pass, which a CPU does not have."""
    row = random_row(6, n_nodes=60)
    model = ppm_of()[0].to("cuda")
    found = []
    for attention in ("paths", "flex_attention"):
        model.set_attn_implementation("flex_attention" if attention == "flex_attention" else "tree")
        model.zero_grad()
        with torch.device("cuda"):
            out = logits(model, row, attention)
        (out * torch.linspace(-1, 1, len(out), device="cuda")).sum().backward()
        found.append((out.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    assert (found[0][0] - found[1][0]).abs().max() < 1e-3
    assert (found[0][1] - found[1][1]).norm() / found[0][1].norm() < 1e-2


def test_a_changed_step_changes_what_lies_below_it_and_nothing_else(ppm: Any) -> None:
    model, row = ppm[0], random_row(4)
    grown = forest(row["ids"], row["length"], row["parent"])
    changed = next(t for t in range(12, len(row["ids"])) if grown.subtree_end[t] < len(row["ids"]))
    other = dict(row, ids=[*row["ids"][:changed], 700, *row["ids"][changed + 1 :]])
    with torch.no_grad():
        difference = (logits(model, row, "tree") - logits(model, other, "tree")).abs() > 1e-7
    assert difference.nonzero().flatten().tolist() == list(range(changed, grown.subtree_end[changed]))


def test_bf16_autocast_and_checkpointing_go_through(ppm: Any) -> None:
    model, row = ppm[0], random_row(5)
    exact = logits(model, row, "tree").detach()
    model.train()
    model.gradient_checkpointing_enable()
    try:
        with torch.autocast("cpu", torch.bfloat16):
            out = logits(model, row, "tree")
        out.float().sum().backward()
        assert all(p.grad is not None for p in model.parameters())
        assert torch.allclose(out.float(), exact, atol=0.3)
    finally:
        model.gradient_checkpointing_disable()
        model.eval()
        model.zero_grad()


def test_a_cache_grows_and_keeps_what_it_has() -> None:
    cache = KeyCache()
    first, second = torch.randn(2, 5, 4), torch.randn(2, 9, 4)
    cache.put(0, first, -first)
    cache.offset = 5
    keys, values = cache.put(0, second, -second)
    assert torch.equal(keys[:, :14], torch.cat([first, second], 1))
    assert torch.equal(values[:, :14], -keys[:, :14])


def test_a_tree_keeps_equal_steps_once_and_orders_them() -> None:
    tree = StepTree.begin([1, 2])
    a, b = tree.add(0, "a", [3]), tree.add(0, "b", [4])
    below = tree.add(a, "c", [5, 6])
    assert tree.add(0, "a", [3]) == a
    assert tree.depth_first([b, below]) == [0, a, below, b]
    assert tree.depth_first([b]) == [0, b]
    assert tree.path(below) == [0, a, below]
