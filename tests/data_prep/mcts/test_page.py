"""`data_prep.mcts.page`: what the page holds, what its script makes of it, that nothing in the data can break it."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from data_prep.artefacts import write_artefact
from data_prep.mcts.page import MAX_BYTES, choose, main, page_data, write_page
from data_prep.mcts.records import node_rows, run_row
from data_prep.mcts.tree import ANSWER, Node, Tree, back_up, finish

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browser = pytest.mark.skipif(CHROMIUM is None, reason="needs a headless Chromium: chromium is not in PATH")
MARK = "document.documentElement.dataset.ran=1"
EVIL = (
    f"</script><script>{MARK}</script><!-- <img src=x onerror='{MARK}'> --><script>{MARK}//\"'`&lt;&amp;{{{{DATA}}}}"
    f"\0\x1b[31m\u202eRTL\u2066 \u2028 \u200b\U000e0041 <svg onload={MARK}></textarea></title></style>{{{{SCRIPT}}}}"
)
LONE = "half \ud83d a \udc00 character"


def tree_of(problem: str = "What is 2 + 2?", number: int = 0, **more: Any) -> Tree:
    row = {"problem_id": f"p1-{problem}", "source": "test", "problem": problem, "answer": "4", "images": []}
    return Tree({**row, **more}, number, 7, f"Question: {problem}\n", stopped="rollouts")


def answer(tree: Tree, parent: Node, verdict: str, text: str = "4", reached: bool = True) -> Node:
    """A new leaf with an answer; a rollout ends there if it is `reached`."""
    step = f"<answer>\\boxed{{{text}}}<end_of_answer>"
    node = grown(tree, parent, step, terminal=ANSWER, extracted=text, verdict=verdict)
    if reached:
        tree.ended_at.append(node.number)
        back_up(node, 1.0 if verdict == "right" else -1.0)
        finish(node)
    tree.n_right += verdict == "right"
    return node


def grown(tree: Tree, parent: Node, step: str, **values: Any) -> Node:
    node = tree.add(parent, **{"step": step, "n_tokens": len(step), **values})
    parent.children = [*(parent.children or ()), node]
    return node


def dropped(tree: Tree, parent: Node, reason: str) -> None:
    parent.dropped.append(tree.add(parent, step="x = 1\n<end_of_step>", terminal=f"dropped: {reason}"))


def small() -> Tree:
    """Nodes 1 to 8: two steps, below the first a right (3) and a wrong answer (4), one dropped (5); 6 and 7 untried,
    8 too long."""
    tree = tree_of()
    a = grown(tree, tree.root, "<code>\n# Add the numbers\nx = 2 + 2  # sum\nprint('x', x)\n<end_of_code>")
    a.output = "\n<output>x 4<end_of_output>"
    b = grown(tree, tree.root, "# Guess\n<end_of_step>")
    answer(tree, a, "right")
    answer(tree, a, "wrong", "5")
    dropped(tree, a, "duplicate")
    grown(tree, a, "# Not looked at\n<end_of_step>")
    grown(tree, a, "# Nor this\n<end_of_step>")
    grown(tree, b, "# Much too long", terminal="too long")
    tree.ended_at.append(8)
    tree.ended_at.append(2)
    return tree


def ladder(depth: int, wide: int, scores: bool = False) -> Tree:
    """A path of `depth` steps, and beside each of them `wide` others that no rollout has followed."""
    tree = tree_of(f"Deep {depth} and {wide} wide")
    node = tree.root
    for level in range(depth):
        others = [grown(tree, node, f"# Step {level} way {i}\nx = {i}\n<end_of_step>") for i in range(wide)]
        for i, other in enumerate(others if scores else ()):
            other.prior_score = other.value_sum = i / wide - 0.5
            other.visits = 1
        for reason in ("duplicate", "duplicate", "code fails"):
            dropped(tree, node, reason)
        node = others[wide // 2]
    answer(tree, node, "right")
    return tree


def evil() -> Tree:
    tree = tree_of(EVIL, answer=EVIL, source=EVIL, policy=EVIL, problem_id=EVIL)
    tree.prompt, tree.stopped = EVIL, EVIL
    step = grown(tree, tree.root, EVIL, output=EVIL, prior_score=float("nan"))
    answer(tree, step, "wrong", EVIL)
    answer(tree, step, "right", LONE)
    grown(tree, step, LONE, terminal=EVIL)
    dropped(tree, step, EVIL)
    return tree


def all_trees() -> list[Tree]:
    nothing, only_dropped, wrong = tree_of("Nothing"), tree_of("All dropped"), tree_of("Wrong")
    for reason in ("duplicate", "duplicate", "code fails"):
        dropped(tree=only_dropped, parent=only_dropped.root, reason=reason)
    only_dropped.ended_at.append(0)
    only_dropped.root.children = []
    answer(wrong, grown(wrong, wrong.root, "A thought.\n\n"), "wrong")
    answer(wrong, wrong.root, "unverifiable", "maybe")
    return [small(), nothing, only_dropped, wrong, ladder(16, 4), ladder(4, 120, scores=True), evil()]


class Page(HTMLParser):
    """A page as Chromium has it: all elements with their attributes, and the text below each that has an id."""

    def __init__(self, dom: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.inside: list[tuple[str, str]] = []
        self.texts: dict[str, str] = {}
        self.feed(dom)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.elements.append((tag, values))
        if tag not in ("meta", "input", "img", "br"):
            self.inside.append((tag, values.get("id", "")))

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for name in {name for _, name in self.inside if name}:
            self.texts[name] = self.texts.get(name, "") + data

    def cards(self, wanted: str = "card") -> list[int]:
        """Numbers of the shown nodes whose card has this class or attribute."""
        found = [values for _, values in self.elements if "data-node" in values]
        return sorted(int(v["data-node"]) for v in found if wanted in v["class"].split() or wanted in v)


def looked_at(path: Path, view: str = "") -> Page:
    """The page after its script has run, without a network."""
    assert CHROMIUM
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1400,900", "--virtual-time-budget=2000",
        f"--user-data-dir={path.parent / 'profile'}", "--dump-dom", f"{path.as_uri()}{view}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=60, env={**os.environ, "HOME": str(path.parent)})
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return Page(done.stdout.decode("utf-8"))


def written(path: Path, trees: Sequence[Tree], **more: Any) -> str:
    write_page(trees, path, **more)
    return path.read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[0])


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "trees.html"
    write_page(all_trees(), path, EVIL, note=EVIL)
    return path


# --- What is written


def test_nothing_is_loaded_and_only_the_own_script_may_run(page):
    html = page.read_text(encoding="utf-8")
    script = re.findall(r"<script>(.*?)</script>", html, re.S)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}';" in html
    elements = Page(html).elements
    assert {"link", "img", "iframe", "object", "embed", "base"}.isdisjoint(tag for tag, _ in elements)
    for _, values in elements:
        assert {"src", "href", "action", "srcset"}.isdisjoint(values)
        assert not [name for name in values if name.startswith("on")]
    own = html.replace(html[html.index('id="data">') : html.index("</script>")], "")
    assert re.findall(r"\bhttps?://[\w./]+", own) == ["http://www.w3.org/2000/svg"]  # a name, which nothing fetches
    assert not re.search(r"@import|url\(|\bimport\b *[({*\"']|\bfetch\(|XMLHttpRequest|innerHTML|\beval\(", own)


def test_data_is_whole_and_cannot_leave_its_element(page):
    trees = all_trees()
    html = page.read_text(encoding="utf-8")
    data = data_of(html)
    assert [[node["number"] for node in tree["nodes"]] for tree in data["trees"]] == [
        [node.number for node in tree.nodes()] for tree in trees
    ]
    assert [tree["ended_at"] for tree in data["trees"]] == [tree.ended_at for tree in trees]
    found = data["trees"][-1]
    assert (found["problem"], found["prompt"], data["title"], data["note"]) == (EVIL, EVIL, EVIL, EVIL)
    assert {EVIL, LONE} <= {*data["texts"]}
    assert "prior_score" not in found["nodes"][1]  # it was not a number
    raw = page_data(trees, "", "", 4000)
    assert "<" not in raw
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in raw if c < "\U00010000")
    assert json.loads(raw)["trees"] == data["trees"]


def test_a_score_of_zero_and_an_empty_answer_are_there(tmp_path):
    tree = tree_of()
    step = grown(tree, tree.root, "a", prior_score=0.0)
    answer(tree, step, "wrong", "")
    nodes = data_of(written(tmp_path / "a.html", [tree]))["trees"][0]["nodes"]
    assert nodes[1]["prior_score"] == 0
    assert nodes[2]["extracted"] == ""


def test_long_texts_are_cut_and_the_page_stays_small(tmp_path):
    trees = [tree_of("p" * 10_000, i) for i in range(20)]
    for tree in trees:
        for i in range(499):
            grown(tree, tree.root, f"{tree.number} {i} " + "é" * (100_000 if i == 0 else 5_000))
    html = written(tmp_path / "a.html", trees)
    assert len(html.encode()) < MAX_BYTES + 100_000
    assert re.search(r"\[\.\.\. 99,\d\d\d characters are left out here \.\.\.\]", html)
    data = data_of(written(tmp_path / "b.html", trees[:1]))
    assert "[... 6,000 characters are left out here ...]" in data["trees"][0]["problem"]


def test_equal_texts_stand_there_once(tmp_path):
    assert written(tmp_path / "a.html", [small(), small()]).count("Add the numbers") == 1


def test_no_tree(tmp_path):
    with pytest.raises(ValueError, match="no tree"):
        write_page([], tmp_path / "a.html")


# --- Which trees


def outcome_of(verdicts: str, number: int = 0) -> Tree:
    tree = tree_of(verdicts, number)
    for verdict in verdicts.split():
        answer(tree, tree.root, verdict)
    return tree


def test_some_of_every_outcome():
    kinds = ["right wrong"] * 10 + ["wrong"] * 2 + ["right"] * 5 + [""]
    trees = [outcome_of(kind, i) for i, kind in enumerate(kinds)]
    chosen, note = choose(iter(trees), 9)
    assert [tree.number for tree in chosen] == [0, 1, 2, 10, 11, 12, 13, 14, 17]
    assert note == "9 of 18 trees: 3 of 10 mixed, 3 of 5 all right, 2 of 2 all wrong, 1 of 1 no answer"
    chosen, note = choose(iter(trees), 100)
    assert chosen == trees
    assert note == "all 18 trees: 10 mixed, 5 all right, 2 all wrong, 1 no answer"
    assert choose(iter(trees), 1)[1].startswith("1 of 18 trees: 1 of 10 mixed, 0 of 5 all right")


@pytest.fixture
def folder(tmp_path) -> Path:
    trees = [small(), ladder(2, 2), outcome_of("wrong")]
    for name, kind, rows in (
        ("trees", "tree", [row for tree in trees for row in node_rows(tree)]),
        ("runs", "search_run", [run_row(tree, "policy", "-", None) for tree in trees]),
    ):
        write_artefact(tmp_path / "mcts" / name, kind, rows, stage="generate_mcts", config={}, seed=0, inputs={})
    return tmp_path / "mcts"


def command(monkeypatch, *words: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["page", *map(str, words)])
    main()


def test_the_command(folder, monkeypatch, capsys):
    command(monkeypatch, folder)
    assert f"{folder / 'trees.html'}: all 3 trees: 1 mixed, 1 all right, 1 all wrong, 0.1 MB" in capsys.readouterr().out
    data = data_of((folder / "trees.html").read_text())
    assert [tree["policy"] for tree in data["trees"]] == ["policy"] * 3
    output = folder.parent / "one.html"
    command(monkeypatch, folder, "--output", output, "--problem", "p1-wrong", "p1-What is 2 + 2?", "--n_trees", "1")
    assert "1 of 2 trees: 1 of 1 mixed, 0 of 1 all wrong" in capsys.readouterr().out
    assert [tree["problem"] for tree in data_of(output.read_text())["trees"]] == ["What is 2 + 2?"]


def test_errors_of_the_command_are_one_line(folder, monkeypatch, capsys):
    for words, said in (
        (["nowhere"], "holds no data-*.parquet: give the folder"),
        ([folder, "--problem", "p1-wrong", "p1-what"], "holds no tree of the problem p1-what"),
        ([folder, "--output", folder / "no" / "such.html"], "No such file"),
        ([folder, "--n_trees", "0"], "--n_trees: at least 1"),
    ):
        with pytest.raises(SystemExit) as stop:
            command(monkeypatch, *words)
        message = str(stop.value.code) if stop.value.code != 2 else capsys.readouterr().err.splitlines()[-1]
        assert said in message
        assert "\n" not in message


def test_needs_no_torch():
    code = "import sys, data_prep.mcts.page; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0


# --- What the browser makes of it


@browser
def test_what_was_tried_is_shown_at_first(page):
    found = looked_at(page)
    assert found.cards() == [0, 1, 2, 3, 4, 8]
    assert (found.cards("right"), found.cards("wrong"), found.cards("ended")) == ([3], [4], [8])
    assert found.texts["n_untried"] == "2 steps not followed"
    assert found.texts["n_dropped"] == "1 dropped candidate: 1 duplicate"
    assert "gold4answers1 right of 2nodes9rollouts4" in found.texts["about"]
    assert found.texts["said"] == "4 rollouts: ▶ or the right arrow key goes through them"
    folds = {v["data-fold"]: v["aria-label"] for _, v in found.elements if "data-fold" in v}
    assert folds == {"0": "node 0: fold its steps", "1": "node 1: unfold 2 steps", "2": "node 2: fold its steps"}
    assert len([1 for _, v in found.elements if "data-tree" in v]) == 7
    assert found.texts["outcomes"] == "all 7mixed 2all right 2all wrong 1no answer 2"


@browser
@pytest.mark.parametrize("i", [0, 4, 5])
def test_every_node_is_on_the_page_and_none_covers_another(page, i: int):
    tree = all_trees()[i]
    found = looked_at(page, f"#tree={i}&untried=1&dropped=1")
    assert found.cards() == [node.number for node in tree.nodes()]
    assert found.cards("dropped") == [node.number for node in tree.nodes() if (node.terminal or "")[:4] == "drop"]
    columns: dict[float, list[float]] = {}
    for _, values in found.elements:
        if "data-node" in values:
            place = dict(re.findall(r"(left|top): (-?[\d.]+)px", values["style"]))
            columns.setdefault(float(place["left"]), []).append(float(place["top"]))
    assert len(columns) == max(node.depth for node in tree.nodes()) + 1
    for tops in map(sorted, columns.values()):
        assert tops[0] >= 0
        assert all(b - a >= 40 for a, b in pairwise(tops))


@browser
@pytest.mark.parametrize(
    ("view", "on", "chosen", "said"),
    [
        ("rollout=2", [0, 1, 4], [4], "Rollout 2 of 4 ended at node 4: wrong, answer 5"),
        ("rollout=3&node=6", [0, 2, 8], [6], "Rollout 3 of 4 ended at node 8: too long"),
        ("rollout=4&node=5", [0, 2], [5], "Rollout 4 of 4 ended at node 2: no step was left to follow"),
    ],
)
def test_a_view_can_be_linked(page, view: str, on: list[int], chosen: list[int], said: str):
    found = looked_at(page, f"#tree=0&{view}")
    assert found.cards("on") == on
    assert found.cards("aria-current") == chosen
    assert found.texts["said"] == said
    assert f"Node {chosen[0]}, step" in found.texts["panel"]
    if chosen == [4]:
        assert "# Add the numbers\nx = 2 + 2  # sum\nprint('x', x)\n<end_of_code>x 4" in found.texts["panel"]
        assert "Q−1.00visits1" in found.texts["panel"]
        assert "Step 1 · node 1Q 0.00 · 2 visits" in found.texts["panel"]


@browser
def test_scores_are_no_visits_of_rollouts(page):
    found = looked_at(page, "#tree=5&node=61")
    assert len(found.cards()) == 6
    assert "PPM score0.000" in found.texts["panel"]
    assert found.texts["n_untried"] == "476 steps not followed"


@browser
def test_trees_without_steps(page):
    found = looked_at(page, "#tree=1")
    assert found.cards() == [0]
    assert found.texts["empty"] == "This tree has no steps: its root was never expanded."
    assert found.texts["said"] == "No rollout was made"
    found = looked_at(page, "#tree=2&rollout=1")
    assert found.texts["empty"].endswith(
        "of 3 candidates for the first one all were dropped: 2 duplicate, 1 code fails."
    )
    assert found.texts["said"] == "Rollout 1 of 1 ended at node 0: no step was left to follow"


@browser
def test_nothing_in_the_data_runs(page):
    found = looked_at(page, "#tree=6&untried=1&dropped=1&node=1")
    assert found.cards() == list(range(6))
    assert "data-ran" not in found.elements[0][1]
    tags = [tag for tag, _ in found.elements]
    assert (tags.count("script"), tags.count("img"), tags.count("textarea"), tags.count("title")) == (2, 0, 0, 1)
    assert not [name for _, values in found.elements for name in values if name.startswith("on")]
    shown = found.texts["panel"]
    assert "<script>" in shown
    for name in ("0000", "001B", "202E", "2066", "2028", "200B", "E0041"):
        assert f"⟨U+{name}⟩" in shown
    outside = {name: text for name, text in found.texts.items() if name != "data"}
    assert not any(c in text for text in outside.values() for c in "\u202e\u2066\u200b\x1b\0")
    assert "half ⟨U+D83D⟩ a ⟨U+DC00⟩" in found.texts["world"]


@browser
def test_an_address_without_meaning_shows_the_first_tree(page):
    found = looked_at(page, "#tree=99&rollout=constructor&node=__proto__&x=%ff")
    assert found.cards() == [0, 1, 2, 3, 4, 8]
    assert found.cards("on") == found.cards("aria-current") == []


@browser
def test_keys_and_clicks(tmp_path):
    """The page's script with this behind it: each line notes what is seen after it."""
    driver = """
    const seen = [], every = what => [...document.querySelectorAll(what)], first = what => document.querySelector(what);
    const note = () => seen.push([every(".card.on").map(e => e.dataset.node).join(" "), every("[data-node]").length,
      document.activeElement?.dataset.node ?? "", location.hash].join("|"));
    const click = what => { first(what).click(); note(); };
    const key = (name, what = "body") => {
      first(what).dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true}));
      note();
    };
    for (const name of ["ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft"]) key(name);
    click("#next");
    for (let i = 0; i < 3; i++) click("[data-fold='1']");
    first("[data-node='2']").focus();
    key("-", "[data-node='2']");
    key("ArrowUp", "[data-node='2']");
    click("#dropped");
    find("search").value = "deep 16";
    find("search").dispatchEvent(new Event("input"));
    seen.push(every("[data-tree]").map(e => e.dataset.tree).join(" "));
    click("[data-tree='4']");
    find("fit").click();
    seen.push(zoom.toFixed(2));
    document.documentElement.dataset.seen = JSON.stringify(seen);
    """
    html = written(tmp_path / "a.html", all_trees())
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.S)
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in (script, script + driver)]
    (tmp_path / "a.html").write_text(html.replace(hashes[0], hashes[1]).replace(script, script + driver))
    seen = json.loads(looked_at(tmp_path / "a.html").elements[0][1]["data-seen"])
    assert seen == [
        "0 1 3|6||#tree=0&rollout=1&node=3",
        "0 1 4|6||#tree=0&rollout=2&node=4",
        "0 1 3|6||#tree=0&rollout=1&node=3",
        "0 1 3|6||#tree=0&rollout=1&node=3",  # there is none before the first
        "0 1 4|6||#tree=0&rollout=2&node=4",
        "0 1 4|8||#tree=0&rollout=2&node=4",  # + 6 and 7
        "0 1|4||#tree=0&rollout=2&node=4",  # folded
        "0 1 4|6||#tree=0&rollout=2&node=4",  # what was tried
        "0 1 4|5|2|#tree=0&rollout=2&node=4",
        "0 1 4|5|4|#tree=0&rollout=2&node=4",
        "0 1 4|6|4|#tree=0&rollout=2&node=4&dropped=1",
        "4",
        "|18||#tree=4",
        seen[-1],
    ]
    assert float(seen[-1]) < 0.5
