"""Cells from grids, samples for cells: nested sizes, equal budgets, matched lengths, variants of a response."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.ablation.cells import cells_of, check, terms_of
from data_prep.ablation.cost import power_lines, power_of
from data_prep.ablation.plan import Plan, make_plan
from data_prep.ablation.selection import matched_keys, variant, within_problem
from data_prep.ablation.settings import (
    Cell,
    GridConfig,
    PowerArguments,
    QuestionConfig,
    RunArguments,
    StudyArguments,
)
from data_prep.ablation.study import write_data
from data_prep.artefacts import write_artefact
from data_prep.rows import problem_id
from data_prep.small_world import CHECKPOINTS
from data_prep.small_world.study import samples
from data_prep.statistics import Spread, power

MODEL = str(CHECKPOINTS / "small")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, cache_of_tests: Path) -> StudyArguments:
    folder = tmp_path_factory.mktemp("study")
    write_artefact(folder / "samples", "sample", samples(60, 0), stage="test", config={}, seed=0, inputs={})
    problem: dict[str, Any] = {"problem": "What is 1 + 1?", "answer": "2", "source": "test", "images": []}
    row = {**problem, "problem_id": problem_id(problem["problem"]), "band": "easy"}
    write_artefact(folder / "test", "problem", [row], stage="test", config={}, seed=0, inputs={})
    return StudyArguments(
        samples=str(folder / "samples"), test=[str(folder / "test")], model_name_or_path=MODEL, grids=[],
        sft_options={"max_length": 1024}, output_dir=str(folder / "out"),
    )  # fmt: skip


def planned(study: StudyArguments, *grids: GridConfig, **changes: Any) -> Plan:
    return make_plan(replace(study, grids=list(grids), **changes), 1)


def rows_of(plan: Plan, cell: Cell) -> list[int]:
    return list(plan.orders[cell.data][1][: plan.selections[cell.name].n_rows])


def test_sizes_are_nested_budgets_equal_and_seeds_differ(study: StudyArguments) -> None:
    natural = [{"trace": "natural"}]
    plan = planned(study, GridConfig([2000, 6000], ["easy", "hard", "all"], [0, 1], where=natural))
    by_name = {cell.name: cell for cell in plan.cells}
    assert len(by_name) == 12
    for cell in plan.cells:
        selection = plan.selections[cell.name]
        tokens = plan.pool.lengths[MODEL, "long"][0]
        assert selection.tokens == tokens[rows_of(plan, cell)].sum() <= cell.size
        longest = tokens.max()
        assert selection.tokens > cell.size - longest, "as much as fits"
        assert cell.band == "all" or set(plan.pool.band[rows_of(plan, cell)]) == {cell.band}
        if cell.size == 2000:
            larger = replace(cell, size=6000)
            assert rows_of(plan, larger)[: len(rows_of(plan, cell))] == rows_of(plan, cell)
    first, second = (rows_of(plan, by_name[f"small_easy_trace-natural_s{seed}_6000"]) for seed in (0, 1))
    assert first != second
    everything = rows_of(plan, by_name["small_all_trace-natural_s0_6000"])
    assert set(plan.pool.band[everything]) == {"easy", "medium", "hard"}


def test_an_order_does_not_depend_on_the_rest_of_the_pool(study: StudyArguments, tmp_path: Path) -> None:
    folder = tmp_path / "fewer"
    write_artefact(folder, "sample", samples(40, 0), stage="test", config={}, seed=0, inputs={})
    grid = GridConfig([3000], ["hard"])
    ids = []
    for some in (study, replace(study, samples=str(folder))):
        plan = planned(some, grid)
        ids.append([plan.pool.ids[i] for i in plan.pool.order(plan.cells[0])])
    kept = set(ids[1])
    assert [i for i in ids[0] if i in kept] == ids[1]


def test_samples_as_budget_epochs_and_responses_per_problem(study: StudyArguments) -> None:
    plan = planned(study, GridConfig([40], ["hard"], epochs=[1, 4]), budget="samples")
    assert sorted(s.n_rows for s in plan.selections.values()) == [10, 40]
    plan = planned(study, GridConfig([8000], per_problem=[1, 2]))
    once, twice = (plan.selections[f"small_all_upto{k}_s0_8000"] for k in (1, 2))
    assert once.n_problems == once.n_rows
    assert twice.n_rows - 2 * twice.n_problems in (-1, 0), "whole problems, but for the last"


def test_matched_bands_have_the_same_lengths(study: StudyArguments) -> None:
    grid = GridConfig([4000], ["easy", "hard"], where=[{"trace": "natural"}], match_length=True)
    tokens, means = None, {}
    for name, some in (("matched", grid), ("free", replace(grid, match_length=False))):
        plan = planned(study, some)
        tokens = plan.pool.lengths[MODEL, "long"][0]
        for cell in plan.cells:
            means[name, cell.band] = tokens[rows_of(plan, cell)].mean()
    assert means["free", "hard"] / means["free", "easy"] > 1.15
    assert abs(means["matched", "hard"] / means["matched", "easy"] - 1) < 0.06


@given(st.data())
def test_every_beginning_of_a_matched_order_is_balanced(data: st.DataObject) -> None:
    n = data.draw(st.integers(20, 200))
    tokens = np.array(data.draw(st.lists(st.integers(1, 50), min_size=n, max_size=n)))
    band = np.array(data.draw(st.lists(st.sampled_from(["easy", "hard"]), min_size=n, max_size=n)), dtype=object)
    keys = np.random.default_rng(n).random(n)
    cell = Cell("m", 1, band="easy", matched=("easy", "hard"))
    new, usable = matched_keys(keys, np.ones(n, bool), band, tokens, cell)
    counts = [int((usable & (band == name)).sum()) for name in ("easy", "hard")]
    assert counts[0] == counts[1]
    assert ((new[usable] >= 0) & (new[usable] < 1)).all()


def test_variants() -> None:
    row = {
        "problem_id": "p",
        "messages": [
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": "<think>\na\n\nb\n\nc\n\nd\n</think>\n\nThe answer is 2."},
        ],
    }
    assert variant(row, "long") == row["messages"]
    assert variant(row, "short")[-1]["content"] == "The answer is 2."  # type: ignore[index]
    shuffled = variant(row, "shuffled")[-1]["content"]  # type: ignore[index]
    assert shuffled != row["messages"][-1]["content"]
    thought, _, answer = shuffled.partition("</think>")
    assert sorted(word for word in thought.split() if word != "<think>") == ["a", "b", "c", "d"]
    assert answer == "\n\nThe answer is 2."
    for content in ("no thought", "<think>\nnever closed", "<think>a</think>"):
        bad = {**row, "messages": [row["messages"][0], {"role": "assistant", "content": content}]}
        assert variant(bad, "short") is None
        assert variant(bad, "shuffled") is None


def test_place_within_a_problem() -> None:
    ids = np.array(["a", "b", "a", "a"], dtype=object)
    usable = np.array([True, True, True, False])
    assert list(within_problem(ids, np.array([0.9, 0.5, 0.1, 0.0]), usable)) == [1, 0, 0, 4]


def test_terms_mean_the_defaults_that_they_do_not_name(study: StudyArguments) -> None:
    grids = [GridConfig([0, 100], ["easy", "all"], [0, 1], responses=["long", "short"])]
    some = replace(study, grids=grids)
    cells = cells_of(some)
    assert len(cells) == 1 + 8
    question = QuestionConfig("q", "c", [{"size": 100}, {"size": 0, "weight": -1}], 1.0)
    (_, first), (weight, second) = terms_of(question, some, cells)
    assert [(cell.band, cell.response, cell.seed) for cell in first] == [("all", "long", 0), ("all", "long", 1)]
    assert (weight, len(second)) == (-1.0, 1)
    for term, said in (
        ({"size": 7}, "no cell"),
        ({"bnd": "easy", "size": 100}, "did you mean band"),
        ({}, "no term"),
        ({"size": 100, "weight": 0}, "no term"),
    ):
        with pytest.raises(ValueError, match=said):
            terms_of(replace(question, terms=[term]), some, cells)


def test_names_are_folder_names_and_differ() -> None:
    odd = Cell("a/b", 10, where=(("source", "x/y z*"), ("n", 3)))
    assert re.fullmatch(r"b_all_source-x-y-z--[0-9a-f]{6}_n-3_s0_10", odd.name)
    assert "/" not in Cell("b", 1, where=(("source", "../../up"),)).name
    assert ".." not in Cell("b", 1, where=(("source", "../../up"),)).name
    long, other = (replace(odd, where=(("source", text * 100),)) for text in ("ab", "cd"))
    assert len(long.name) < 200
    assert len({long.data, other.data, replace(long, seed=1).data}) == 3


def test_data_grow_with_the_sizes(study: StudyArguments, tmp_path: Path) -> None:
    some = replace(study, output_dir=str(tmp_path))
    for size in (2000, 6000, 4000):
        plan = planned(some, GridConfig([size], ["easy"]))
        write_data(plan, plan.cells)
        rows = pq.read_table(tmp_path / "data" / "small_easy_s0" / "data-00000.parquet")["problem_id"].to_pylist()
        _, order, needed = plan.orders["small_easy_s0"]
        assert rows == [plan.pool.ids[i] for i in order[: len(rows)]]
        assert len(rows) >= needed
    assert len(rows) > needed, "a smaller size takes nothing away"


def test_cells_matched_among_different_bands_are_no_seeds_of_one_way(study: StudyArguments) -> None:
    grids = [GridConfig([100], bands, match_length=True) for bands in (["hard", "easy"], ["easy", "medium", "hard"])]
    some = replace(study, grids=grids)
    assert cells_of(some)[0].matched in (("easy", "hard"), ("easy", "medium", "hard"))
    question = QuestionConfig("q", "c", [{"size": 100, "band": "hard", "match_length": True}], 1.0)
    with pytest.raises(ValueError, match="match only once"):
        terms_of(question, some, cells_of(some))


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        (GridConfig([10], seeds=[-1]), "seeds: -1: 0 or more"),
        (GridConfig([10], epochs=[float("nan")]), "epochs: nan"),
        (GridConfig([10], where=[{"images": []}]), "where: images"),
        (GridConfig([10], lengths=["9-3"]), "two rising numbers"),
        (GridConfig([10], match_length=True), "needs bands"),
    ],
)
def test_grids_that_mean_nothing(study: StudyArguments, grid: GridConfig, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check(replace(study, grids=[grid]), RunArguments())


@pytest.mark.parametrize("options", [{"max_steps": 2}, {"eval_share": 0.5}, {"streaming": True}])
def test_options_by_which_a_cell_would_train_on_something_else(study: StudyArguments, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"sft: {next(iter(options))}"):
        planned(study, GridConfig([1000]), sft_options={"max_length": 1024, **options})


def test_power_before_the_run(study: StudyArguments) -> None:
    grid = GridConfig([0, 500], ["easy", "hard"], [0, 1, 2, 3, 4])
    terms: list[dict[str, Any]] = [{"size": 500, "band": "hard"}, {"size": 500, "band": "easy", "weight": -1}]
    gains: list[dict[str, Any]] = [*terms, {"size": 0}]
    questions = [QuestionConfig(n, "c", t, 30.0, family=n) for n, t in (("difference", terms), ("gains", gains))]
    questions.append(QuestionConfig("odds", "c", terms, 0.1, scale="log_odds", family="odds"))
    plan = planned(study, grid, questions=questions)
    plan.groups["all"] = 200
    lines = power_lines(plan, PowerArguments(2.0, 25.0, 35.0))
    assert [line.split()[0] for line in lines] == ["difference", "gains", "odds"]
    chance = power_of(questions[0], PowerArguments(2.0, 25.0, 35.0), 5, weights=[(1, True), (-1, True)],
                      n_problems=200, n_family=1)  # fmt: skip
    known = power(30, 5, 200, Spread(2.0, 25.0, 35.0), problems="sampled")
    assert chance == pytest.approx(known, abs=0.02)
    weak = replace(questions[0], smallest_effect=6.0)
    weaker = [power_of(weak, PowerArguments(2.0, 25.0, 35.0), 5, weights=[(1, True), (-1, True)], n_problems=200,
                       n_family=n) for n in (1, 5)]  # fmt: skip
    assert weaker[0] > weaker[1]
    assert weaker[0] == pytest.approx(power(6, 5, 200, Spread(2.0, 25.0, 35.0), problems="sampled"), abs=0.05)


def test_two_models_of_one_name_are_refused(study: StudyArguments) -> None:
    some = replace(study, grids=[GridConfig([100], models=["a/small", "b/small"])])
    with pytest.raises(ValueError, match="called 'small'"):
        check(some, RunArguments())


def test_pass_rates_of_this_model_make_the_bands(study: StudyArguments, tmp_path: Path) -> None:
    plan = planned(study, GridConfig([1000]))
    rated = list(dict.fromkeys(plan.pool.ids))[:30]
    rows = [
        {"problem_id": i, "sample": k, "model": "m", "prompt_format": "chat", "response": "", "finish_reason": "stop",
         "n_tokens": 1, "verdict": "right" if k < n else "wrong"}
        for i, n in zip(rated, [0, 1, 2, 4] * 8, strict=False)
        for k in range(4)
    ]  # fmt: skip
    write_artefact(tmp_path / "rates", "response", rows, stage="test", config={}, seed=0, inputs={})
    pool = planned(study, GridConfig([500], ["hard"]), pass_rates=str(tmp_path / "rates")).pool
    bands = dict(zip(pool.ids, pool.band, strict=True))
    assert [bands[i] for i in rated[:4]] == ["unsolved", "hard", "medium", "easy"]
    assert pool.left_out[f"no pass rate in {tmp_path / 'rates'}"] == sum(i not in set(rated) for i in pool.ids)
