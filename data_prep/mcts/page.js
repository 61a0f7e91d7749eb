"use strict";
// Everything that comes from data reaches the page as text nodes and attribute values, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const find = id => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 162,
  ROOT = 106,
  HEIGHT = 40,
  COLUMN = 202,
  GAP = 9,
  MARGIN = 28;
const PLAIN = {untried: false, dropped: false};
const OUTCOMES = ["mixed", "all right", "all wrong", "no answer"];
const MARKERS = /<(?:code|end_of_step|end_of_code|output|end_of_output|answer|end_of_answer)>/g;

// Characters that cannot be seen, or that turn text around, are shown by their names.
function visible(text) {
  return text
    .replace(/\r\n/g, "\n")
    .replace(
      /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
      c => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
    );
}

function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false)
      element.setAttribute(name, visible(String(value === true ? "" : value)));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== "") element.append(child instanceof Node ? child : visible(String(child)));
  }
  return element;
}

function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const wide = node => (node.parent ? WIDTH : ROOT);
const left = node => (node.parent ? MARGIN + ROOT + COLUMN * node.depth - WIDTH : MARGIN);
const amount = n => n.toLocaleString("en");
const count = (n, one, many = one + "s") => `${amount(n)} ${n === 1 ? one : many}`;
const short = n => (n < 1000 ? String(n) : n < 9950 ? `${(n / 1000).toFixed(1)}k` : `${Math.round(n / 1000)}k`);
const signed = x => (x === null ? "–" : (x < -0.005 ? "−" : x > 0.005 ? "+" : "") + Math.abs(x).toFixed(2));

// --- Trees

// Nodes with links to one another. `tried`: a rollout went through it, or an answer was counted for it.
function grow(raw) {
  const tree = {...raw, nodes: new Map()};
  for (const row of raw.nodes) {
    const node = {
      terminal: null,
      prior_score: null,
      extracted: null,
      verdict: null,
      visits: 0,
      value_sum: 0,
      n_tokens: 0,
      ...row,
      step: data.texts[row.step],
      output: data.texts[row.output],
      children: [],
      left_out: [],
    };
    node.parent = row.parent === null ? null : tree.nodes.get(row.parent);
    node.depth = node.parent ? node.parent.depth + 1 : 0;
    node.q = node.visits ? node.value_sum / node.visits : null;
    node.kind = kind(node);
    const first = node.prior_score !== null && node.terminal === null ? 1 : 0; // the scorer's value counts as a visit
    node.tried = node.visits > first;
    if (node.parent) (node.kind === "dropped" ? node.parent.left_out : node.parent.children).push(node);
    tree.nodes.set(node.number, node);
  }
  for (const end of tree.ended_at) for (const node of path(tree.nodes.get(end))) node.tried = true;
  tree.root = tree.nodes.get(0);
  tree.all = [...tree.nodes.values()];
  tree.most = Math.max(1, ...tree.all.filter(node => node.parent).map(node => node.visits));
  tree.code = tree.all.some(node => /<code>|<end_of_step>/.test(node.step));
  tree.scored = tree.all.some(node => node.prior_score !== null);
  return tree;
}

function kind(node) {
  if (node.terminal === null) return "inner";
  if (node.terminal.startsWith("dropped")) return "dropped";
  if (node.terminal !== "answer") return "ended";
  return node.verdict === "right" || node.verdict === "wrong" ? node.verdict : "unchecked";
}

function path(node) {
  const nodes = [];
  for (; node; node = node.parent) nodes.unshift(node);
  return nodes;
}

function tally(names) {
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

// What a step says, in a line: its first comment or sentence.
function headline(node) {
  if (!node.parent) return "Problem";
  if (node.kind === "right" || node.kind === "wrong" || node.kind === "unchecked") return node.extracted ?? "";
  const lines = node.step
    .replace(MARKERS, "\n")
    .split("\n")
    .map(line => line.trim())
    .filter(Boolean);
  return (lines[0] ?? "(empty)").replace(/^#+\s*/, "").slice(0, 200);
}

// ": 9 duplicate, 3 code fails"
function reasons(dropped) {
  const names = tally(dropped.map(reason)).map(([name, n]) => `${amount(n)} ${name}`);
  return names.length ? `: ${names.join(", ")}` : "";
}

const answers = nodes => nodes.filter(node => node.terminal === "answer");
const reason = node => (node.terminal ?? "").replace(/^dropped: /, "");

// How a rollout ended that came to this node. In a search that counts answers as they are made it ends above them.
function ending(node) {
  if (node.kind === "inner") {
    const given = tally(answers(node.children).map(child => child.verdict ?? "not checked"));
    return (
      "no step was left to follow" +
      (given.length ? `, steps with answers: ${given.map(([name, n]) => `${n} ${name}`).join(", ")}` : "")
    );
  }
  return node.terminal === "answer" ? `${node.verdict ?? "not checked"}, answer ${node.extracted ?? ""}` : reason(node);
}

// --- Shapes: a circle is a step, hexagon right, square wrong, triangle without answer, diamond not decided

const SHAPES = {
  right: "M0-10 8.7-5V5L0 10-8.7 5V-5Z",
  wrong: "M-8.5-8.5H8.5V8.5H-8.5Z",
  ended: "M0-10 10 8H-10Z",
  unchecked: "M0-11 11 0 0 11-11 0Z",
  dropped: "M-6-6 6 6M6-6-6 6",
};
const MARKS = {
  right: "M-4.5.5-1.5 3.8 4.5-3.5",
  wrong: "M-4-4 4 4M4-4-4 4",
  ended: "M0-3V2M0 4.5V5",
  unchecked: "M-4 0H4",
};

function glyph(node, most, size = 28) {
  const parts = [],
    filled = node.tried,
    tone = "var(--tone)";
  if (node.kind === "inner") {
    const r = 8.5 + 5 * Math.sqrt(Math.min(1, node.visits / most));
    parts.push(
      s("circle", {
        r,
        fill: filled ? tone : "none",
        stroke: filled ? "none" : "var(--grey)",
        "stroke-dasharray": filled ? "" : "2 3",
      }),
    );
    const label = s(
      "text",
      {
        "text-anchor": "middle",
        y: 3.6,
        "font-size": node.visits > 99 ? 8.5 : 10.5,
        "font-weight": 600,
        fill: filled && Math.abs(node.q ?? 0) > 0.45 ? "var(--on)" : "currentColor",
      },
      short(node.visits),
    );
    parts.push(label);
  } else {
    parts.push(
      s("path", {
        d: SHAPES[node.kind],
        fill: filled ? tone : "none",
        stroke: tone,
        "stroke-width": 1.6,
        "stroke-linejoin": "round",
      }),
    );
    if (MARKS[node.kind])
      parts.push(
        s("path", {
          d: MARKS[node.kind],
          fill: "none",
          stroke: filled ? "var(--on)" : tone,
          "stroke-width": 2.2,
          "stroke-linecap": "round",
          "stroke-linejoin": "round",
        }),
      );
  }
  return s(
    "svg",
    {class: "glyph", width: size, height: size, viewBox: "-14 -14 28 28", "aria-hidden": "true"},
    ...parts,
  );
}

// Q as a colour: orange, grey, blue.
function toned(element, node) {
  if (node.kind === "inner" && node.q !== null) {
    const share = Math.round(100 * Math.min(1, Math.abs(node.q)));
    const end = node.q < 0 ? "minus" : "plus";
    element.style.setProperty("--q", `color-mix(in oklab, var(--${end}) ${share}%, var(--zero))`);
  }
  return element;
}

// --- What is shown

let tree; // data.trees[index], grown
let index = -1;
let rollout = 0; // from 1; 0: none
let selected = null; // number of a node
let zoom = 1;
let modes = new Map(); // number of a node to what is shown below it: none, tried, all
let outcome = null; // of the trees in the list; null: every one
const trees = []; // grown where they are looked at

function chooser() {
  const {tree: focusedTree, outcome: focusedOutcome} = document.activeElement?.dataset ?? {};
  const wanted = find("search").value.toLowerCase();
  const fits = raw => !wanted || `${raw.problem} ${raw.problem_id}`.toLowerCase().includes(wanted);
  const found = data.trees.filter(fits);
  find("outcomes").replaceChildren(
    ...[null, ...OUTCOMES].map(name => {
      const n = found.filter(raw => name === null || raw.outcome === name).length;
      return h(
        "button",
        {
          "data-outcome": name ?? "all",
          "aria-pressed": String(outcome === name),
          disabled: !n && outcome !== name,
          click: () => {
            outcome = name;
            chooser();
          },
        },
        h("span", {}, `${name ?? "all"} ${n}`),
      );
    }),
  );
  const items = data.trees.flatMap((raw, i) =>
    fits(raw) && (outcome === null || raw.outcome === outcome) ? [item(raw, i)] : [],
  );
  find("list").replaceChildren(
    ...items,
    ...(items.length ? [] : [h("li", {class: "soft"}, "No tree is like that. Change the words or the outcome.")]),
  );
  if (focusedTree) find("list").querySelector(`[data-tree="${focusedTree}"]`)?.focus({preventScroll: true});
  if (focusedOutcome) find("outcomes").querySelector(`[data-outcome="${focusedOutcome}"]`)?.focus();
}

function item(raw, i) {
  const given = answers(raw.nodes),
    right = given.filter(node => node.verdict === "right").length;
  return h(
    "li",
    {},
    h(
      "button",
      {"aria-current": i === index ? "true" : null, click: () => go({tree: i, ...PLAIN}), "data-tree": i},
      h("b", {dir: "auto"}, raw.problem.slice(0, 300) || "(no text)"),
      h(
        "small",
        {class: "counts number"},
        marked("right", `${right} right`),
        " ",
        marked("wrong", `${given.length - right} not right`),
        data.trees.some(other => other.number) ? ` · tree ${raw.number}` : "",
      ),
      h("small", {class: "number"}, `${count(raw.nodes.length, "node")} · ${count(raw.ended_at.length, "rollout")}`),
      h("small", {class: "number"}, `${count(raw.n_tokens, "token")} · ${stopped(raw)}`),
    ),
  );
}

const STOPPED = new Map([
  ["rollouts", "rollouts used up"],
  ["explored", "nothing left to look at"],
  ["settled", "enough right answers"],
  ["", "not known why"],
]);
const stopped = raw => STOPPED.get(raw.stopped) ?? raw.stopped;
const marked = (name, words) => h("span", {class: name}, glyph({kind: name, tried: true}, 1, 14), " ", words);
const fact = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, ...value));

function about() {
  const given = answers(tree.all),
    right = given.filter(node => node.verdict === "right").length;
  const images = tree.n_images
    ? [h("p", {class: "soft"}, `with ${count(tree.n_images, "image")}, not on this page`)]
    : [];
  find("about").replaceChildren(
    h("h2", {id: "problem", dir: "auto", tabindex: 0}, ...cut(tree.problem)),
    ...images,
    h(
      "dl",
      {class: "facts"},
      fact("gold", tree.answer ?? "none"),
      tree.choices ? fact("choices", tree.choices.join(" | ")) : null,
      fact("answers", `${right} right of ${given.length}`),
      fact("nodes", amount(tree.all.length)),
      fact("rollouts", amount(tree.ended_at.length)),
      fact("tokens", amount(tree.n_tokens)),
      fact("programs run", amount(tree.n_executions)),
      fact("stopped", stopped(tree)),
    ),
    h("details", {}, h("summary", {class: "soft"}, "Prompt"), h("pre", {}, ...cut(tree.prompt))),
  );
  const untried = tree.all.filter(node => !node.tried && node.parent && node.kind !== "dropped").length;
  const dropped = tree.all.filter(node => node.kind === "dropped");
  find("n_untried").textContent = `${count(untried, "step")} not followed`;
  find("n_dropped").textContent = visible(count(dropped.length, "dropped candidate") + reasons(dropped));
  find("untried").disabled = !untried;
  find("dropped").disabled = !dropped.length;
  find("scored").hidden = !tree.scored;
  find("ends").replaceChildren(
    ...tree.ended_at.map((number, i) => {
      const end = tree.nodes.get(number),
        words = `rollout ${i + 1}: ${end ? ending(end) : "unknown"}`;
      const found = answers(end?.children ?? []),
        best = found.find(child => child.kind === "right") ?? found[0];
      const kind = best ? best.kind : !end || end.kind === "inner" ? "ended" : end.kind;
      return h(
        "button",
        {
          title: words,
          "aria-label": words,
          tabindex: -1,
          class: kind,
          "data-rollout": i + 1,
          click: () => go({rollout: i + 1}),
        },
        glyph({kind, tried: true}, 1, 15),
      );
    }),
  );
}

// The shown children: all, those that were tried, or none; `modes` holds what was chosen for a node.
function shown(node) {
  const mode = modes.get(node.number) ?? (find("untried").checked ? "all" : "tried");
  if (mode === "none") return [];
  return [
    ...node.children.filter(child => mode === "all" || child.tried),
    ...(find("dropped").checked ? node.left_out : []),
  ];
}

// Places the children of a node as near to one another as what is below them allows (Reingold and Tilford). Returns
// [top, bottom] of each level, seen from the node, whose `dy` is seen from its parent.
function place(node) {
  node.dy = 0;
  node.shown = shown(node);
  const levels = [];
  for (const child of node.shown) {
    const below = place(child);
    for (let i = 0; i < Math.min(levels.length, below.length); i++)
      child.dy = Math.max(child.dy, levels[i][1] - below[i][0] + GAP);
    below.forEach(([top, bottom], i) => (levels[i] = [levels[i]?.[0] ?? top + child.dy, bottom + child.dy]));
  }
  const middle = node.shown.length ? (node.shown[0].dy + node.shown.at(-1).dy) / 2 : 0;
  for (const child of node.shown) child.dy -= middle;
  return [[-HEIGHT / 2, HEIGHT / 2], ...levels.map(([top, bottom]) => [top - middle, bottom - middle])];
}

function draw() {
  const focused = document.activeElement?.closest?.("[data-node], [data-fold]");
  const levels = place(tree.root);
  const top = Math.min(...levels.map(level => level[0])),
    bottom = Math.max(...levels.map(level => level[1]));
  const width = 2 * MARGIN + ROOT + COLUMN * (levels.length - 1) + 36,
    height = 2 * MARGIN + bottom - top + 16;
  const lines = s("svg", {width, height, "aria-hidden": "true"}),
    cards = [];
  const visit = (node, y) => {
    const x = left(node),
      right = x + wide(node);
    Object.assign(node, {x, y});
    cards.push(card(node));
    const hidden = (node.hidden = node.children.length - node.shown.filter(child => child.kind !== "dropped").length);
    if (node.children.length) {
      const words = hidden
        ? `node ${node.number}: unfold ${count(hidden, "step")}`
        : `node ${node.number}: fold its steps`;
      const fold = h(
        "button",
        {
          class: "fold",
          "data-fold": node.number,
          tabindex: -1,
          "aria-label": words,
          title: words,
          "aria-expanded": String(!hidden),
          click: () => cycle(node),
        },
        hidden ? `+${hidden}` : "−",
      );
      fold.style.left = `${right + 3}px`;
      fold.style.top = `${y - 10}px`;
      cards.push(fold);
    }
    for (const child of node.shown) {
      const from = right + (node.children.length ? 34 : 0),
        to = left(child),
        end = y + child.dy,
        bend = (from + to) / 2;
      lines.append(
        s("path", {
          d: `M${right} ${y}H${from}C${bend} ${y} ${bend} ${end} ${to} ${end}`,
          "data-to": child.number,
          class: child.kind === "dropped" ? "dropped" : "",
          "stroke-width": child.tried ? 1 + 4 * Math.sqrt(child.visits / tree.most) : 0.7,
        }),
      );
      visit(child, end);
    }
  };
  visit(tree.root, MARGIN - top);
  const world = find("world");
  world.replaceChildren(lines, ...cards);
  Object.assign(world.style, {width: `${width}px`, height: `${height}px`});
  Object.assign(world.dataset, {width, height});
  roving(world.querySelector(`[data-node="${selected}"]`) ?? world.querySelector("[data-node]"));
  find("empty").textContent = visible(empty());
  mark();
  scale(zoom);
  if (focused)
    world
      .querySelector(
        focused.dataset.node ? `[data-node="${focused.dataset.node}"]` : `[data-fold="${focused.dataset.fold}"]`,
      )
      ?.focus({preventScroll: true});
}

function empty() {
  if (tree.root.children.length)
    return tree.root.shown.length || modes.has(0) ? "" : "No rollout has gone through a step of this tree.";
  const dropped = tree.root.left_out;
  if (!dropped.length) return "This tree has no steps: its root was never expanded.";
  const many = count(dropped.length, "candidate");
  return `This tree has no steps: of ${many} for the first one all were dropped${reasons(dropped)}.`;
}

function card(node) {
  const visits = count(node.visits, "visit");
  const score = node.prior_score === null ? "" : `, PPM ${signed(node.prior_score)}`;
  const counted = node.visits ? visits : node.tried ? "not counted" : "not reached";
  const q = node.visits ? `Q ${signed(node.q)}` : node.tried || !node.parent ? "Q –" : "not followed";
  const words =
    {inner: q + score, dropped: `dropped: ${reason(node)}`, ended: reason(node)}[node.kind] ??
    `${node.verdict ?? "not checked"}${score || ` · ${counted}`}`;
  const about = [
    `node ${node.number}`,
    `step ${node.depth}`,
    node.kind === "inner" ? headline(node) : `${ending(node)}`,
    `Q ${signed(node.q)}`,
    visits,
  ];
  if (node.prior_score !== null) about.push(`PPM ${signed(node.prior_score)}`);
  const button = h(
    "button",
    {
      class: `card ${node.kind}${node.tried || !node.parent ? "" : " untried"}`,
      "data-node": node.number,
      tabindex: -1,
      "aria-label": about.join(", "),
      title: `node ${node.number}: ${headline(node)}`,
      click: () => go({node: node.number}),
    },
    glyph(node, tree.most),
    h("span", {}, h("i", {dir: "auto"}, headline(node)), h("small", {}, words)),
  );
  Object.assign(button.style, {left: `${node.x}px`, width: `${wide(node)}px`, top: `${node.y - HEIGHT / 2}px`});
  return toned(button, node);
}

// Folds the children of a node, unfolds those that were tried, or all.
function cycle(node) {
  const tried = node.children.filter(child => child.tried).length,
    some = tried && tried < node.children.length;
  modes.set(node.number, !node.hidden ? "none" : node.shown.length || !some ? "all" : "tried");
  draw();
}

// The path of the rollout, the chosen node, and what is said of them.
function mark() {
  const end = rollout ? tree.nodes.get(tree.ended_at[rollout - 1]) : null;
  const on = new Set(end ? path(end).map(node => node.number) : []);
  for (const element of find("world").querySelectorAll("[data-node]")) {
    element.classList.toggle("on", on.has(+element.dataset.node));
    if (+element.dataset.node === selected) element.setAttribute("aria-current", "true");
    else element.removeAttribute("aria-current");
  }
  const lines = find("world").firstChild;
  for (const line of [...lines.children]) {
    line.classList.toggle("on", on.has(+line.dataset.to));
    if (line.classList.contains("on")) lines.append(line);
  }
  for (const button of find("ends").children) {
    button.setAttribute("aria-pressed", +button.dataset.rollout === rollout);
  }
  const pressed = find("ends").querySelector("[aria-pressed=true]");
  if (pressed) find("ends").scrollTop = pressed.offsetTop - find("ends").offsetTop - 8;
  const n = tree.ended_at.length;
  find("back").disabled = rollout <= 1;
  find("next").disabled = rollout >= n;
  find("said").textContent = visible(
    end
      ? `Rollout ${rollout} of ${n} ended at node ${end.number}: ${ending(end)}`
      : rollout
        ? `Rollout ${rollout} of ${n} ended at a node that is not in this tree`
        : n
          ? `${count(n, "rollout")}: ▶ or the right arrow key goes through them`
          : "No rollout was made",
  );
}

function panel() {
  const node = tree.nodes.get(selected);
  find("panel").replaceChildren(...(node ? stepPanel(node) : treePanel()));
  const current = find("panel").querySelector("li[aria-current]");
  find("panel").scrollTop = current
    ? current.offsetTop + Math.min(0, current.offsetHeight - find("panel").clientHeight)
    : 0;
}

function treePanel() {
  const ends = tally(
    tree.all
      .filter(node => node.terminal && node.kind !== "dropped")
      .map(node => (node.terminal === "answer" ? `answer, ${node.verdict ?? "not checked"}` : node.terminal)),
  );
  const given = tally(answers(tree.all).map(node => node.extracted ?? "")).slice(0, 12);
  const facts = [
    ["problem", tree.problem_id],
    ["source", tree.source],
    ["tree", tree.number],
    ["seed", tree.seed],
    ["policy", tree.policy],
  ];
  return [
    h("h2", {}, "This tree"),
    h("p", {class: "soft"}, "Choose a step in the tree to read it, or go through the rollouts."),
    h(
      "dl",
      {class: "facts"},
      facts
        .filter(([, value]) => value !== null && value !== "")
        .map(([name, value]) => {
          const one = fact(name, value);
          one.className = "wide";
          return one;
        }),
    ),
    ...table("How its paths end", ends, "no path has come to an end"),
    ...table("Answers, the most frequent first", given, "no answer was given"),
  ];
}

function table(title, rows, none) {
  return [
    h("h3", {}, title),
    rows.length
      ? h(
          "dl",
          {class: "facts"},
          rows.map(([name, n]) => {
            const one = fact(`${amount(n)} ×`, name);
            one.className = "wide";
            return one;
          }),
        )
      : h("p", {class: "soft"}, none),
  ];
}

const worth = node =>
  `Q ${signed(node.q)} · ${count(node.visits, "visit")}${
    node.prior_score === null ? "" : ` · PPM ${signed(node.prior_score)}`
  }`;

function stepPanel(node) {
  const facts = [
    ["Q", signed(node.q)],
    ["visits", amount(node.visits)],
    ["value (sum)", signed(node.value_sum)],
    ["PPM score", node.prior_score === null ? "none" : node.prior_score.toFixed(3)],
    ["tokens", amount(node.n_tokens)],
    ["steps", amount(node.children.length) + (node.left_out.length ? `, ${node.left_out.length} dropped` : "")],
    ["end", node.terminal ?? "none"],
    ["verdict", node.verdict ?? "none"],
  ];
  const rollouts = tree.ended_at.flatMap((end, i) => (path(tree.nodes.get(end)).includes(node) ? [i + 1] : []));
  const answer = fact("answer", node.extracted ?? "none"),
    through = fact(
      "rollouts through it",
      rollouts.length > 20 ? `${rollouts.slice(0, 20).join(" ")} … (${rollouts.length})` : rollouts.join(" ") || "none",
    );
  answer.className = through.className = "wide";
  const steps = path(node).filter(step => step.parent);
  const title = node.parent ? `Node ${node.number}, step ${node.depth}` : "Root";
  const list = h(
    "ol",
    {class: "steps"},
    steps.map(step =>
      toned(
        h(
          "li",
          {class: step.kind, "aria-current": step === node ? "step" : null},
          h(
            "header",
            {},
            h(
              "button",
              {click: () => go({node: step.number}), "aria-label": `choose node ${step.number}`},
              h("h3", {}, `Step ${step.depth} · node ${step.number}`),
            ),
            h("small", {class: "soft number"}, worth(step)),
          ),
          h("pre", {tabindex: 0}, ...(tree.code ? highlighted(step.step) : cut(step.step || "(empty)"))),
          bare(step.output) ? h("pre", {class: "output", tabindex: 0}, ...cut(bare(step.output))) : "",
        ),
        step,
      ),
    ),
  );
  return [
    h(
      "header",
      {class: "top"},
      toned(h("span", {class: node.kind}, glyph(node, tree.most)), node),
      h("h2", {}, title),
      h("button", {click: () => go({node: null})}, "Close"),
    ),
    h(
      "dl",
      {class: "facts"},
      facts.map(([name, value]) => fact(name, value)),
      answer,
      through,
    ),
    ...(node.parent ? [list] : [h("p", {class: "soft"}, "The search begins here, with the prompt and no step.")]),
  ];
}

// --- Text of steps

const bare = output => output.replace(MARKERS, "").trim();

// The note that stands where a long text was cut is made to be seen.
function cut(text) {
  return text
    .split(/(\[\.\.\. [\d,]+ characters are left out here \.\.\.\])/)
    .map((part, i) => (i % 2 ? h("span", {class: "cut"}, part) : part));
}

const TOKENS = new RegExp(
  [
    String.raw`(?<marker>${MARKERS.source})`,
    String.raw`(?<comment>#(?:(?!<end_of_)[^\n])*)`,
    String.raw`(?<string>"""[^]*?"""|'''[^]*?'''|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')`,
    String.raw`(?<keyword>\b(?:and|as|assert|break|class|continue|def|del|elif|else|except|False|finally|for|from|if` +
      String.raw`|import|in|is|lambda|None|not|or|pass|print|raise|return|True|try|while|with|yield)\b)`,
    String.raw`(?<digit>\b\d[\d_.]*\b)`,
  ].join("|"),
  "g",
);

// Python, lightly coloured; what comes with the answer is words.
function highlighted(text) {
  const answer = text.indexOf("<answer>"),
    code = answer < 0 ? text : text.slice(0, answer),
    parts = [];
  let last = 0;
  for (const match of code.trimStart().matchAll(TOKENS)) {
    const kind = Object.keys(match.groups).find(name => match.groups[name] !== undefined);
    parts.push(...cut(code.trimStart().slice(last, match.index)), h("span", {class: kind}, match[0]));
    last = match.index + match[0].length;
  }
  parts.push(...cut(code.trimStart().slice(last)));
  if (answer >= 0)
    text
      .slice(answer)
      .split(/(<(?:answer|end_of_answer)>)/)
      .forEach((part, i) => parts.push(...(i % 2 ? [h("span", {class: "marker"}, part)] : cut(part))));
  return parts;
}

// --- Moving about

// The one node that the tab key comes to; the arrow keys go on from it.
function roving(card) {
  for (const other of find("world").querySelectorAll("[data-node][tabindex='0']")) other.tabIndex = -1;
  card.tabIndex = 0;
}

function keyInTree(event) {
  const card = event.target.closest("[data-node]"),
    cards = [...find("world").querySelectorAll("[data-node]")];
  if (!card) return;
  const i = cards.indexOf(card),
    node = tree.nodes.get(+card.dataset.node);
  const to = {ArrowUp: cards[i - 1], ArrowDown: cards[i + 1], Home: cards[0], End: cards.at(-1)}[event.key];
  if (to) to.focus();
  else if (["+", "-"].includes(event.key) && node.children.length) cycle(node);
  else return;
  event.preventDefault();
}

function scale(wanted, x = find("view").clientWidth / 2, y = find("view").clientHeight / 2) {
  const view = find("view"),
    world = find("world"),
    before = zoom;
  zoom = Math.min(2, Math.max(0.08, wanted));
  world.style.transform = `scale(${zoom})`;
  world.style.top = `${Math.max(0, (view.clientHeight - world.dataset.height * zoom) / 2)}px`;
  if (before !== zoom) {
    view.scrollLeft = ((view.scrollLeft + x) * zoom) / before - x;
    view.scrollTop = ((view.scrollTop + y) * zoom) / before - y;
  }
}

// `least`: what is smaller than that cannot be read, so a part is shown instead.
function fit(least = 0.08) {
  const view = find("view"),
    {width, height} = find("world").dataset;
  const across = view.clientWidth / width,
    whole = Math.min(1, across, view.clientHeight / height);
  scale(whole >= least ? whole : across >= least ? Math.min(1, across) : 0.8);
  view.scrollLeft = 0;
  center(tree.root);
}

function center(node, sideways = false) {
  const view = find("view"),
    x = node.x * zoom,
    y = node.y * zoom;
  if (y - HEIGHT < view.scrollTop || y + HEIGHT > view.scrollTop + view.clientHeight || !sideways)
    view.scrollTop = y - view.clientHeight / 2;
  if (sideways && (x < view.scrollLeft || x + wide(node) * zoom > view.scrollLeft + view.clientWidth))
    view.scrollLeft = x + (WIDTH + MARGIN) * zoom - view.clientWidth;
}

// Unfolds what hides a node. Returns whether anything was hidden.
function reveal(node) {
  let changed = false;
  for (const step of path(node)) {
    if (!step.parent || step.parent.shown?.includes(step)) continue;
    changed = true;
    if (step.kind === "dropped") find("dropped").checked = true;
    if (step.kind !== "dropped" || modes.get(step.parent.number) === "none")
      modes.set(step.parent.number, step.tried ? "tried" : "all");
  }
  return changed;
}

// Shows a tree, a rollout (from 1; 0: none), a node; what is not named stays, or follows from what is.
function go(wanted) {
  const flags = ["untried", "dropped"].filter(name => wanted[name] !== undefined);
  for (const name of flags) find(name).checked = wanted[name];
  if (wanted.tree !== undefined && wanted.tree !== index) {
    index = wanted.tree;
    tree = trees[index] ??= grow(data.trees[index]);
    [rollout, selected, modes] = [0, null, new Map()];
    about();
    chooser();
    zoom = 1;
    draw();
    fit(0.62);
  } else if (flags.length) {
    draw();
  }
  if (wanted.rollout !== undefined) {
    rollout = wanted.rollout;
    if (rollout) selected = tree.ended_at[rollout - 1];
  }
  if (wanted.node !== undefined) selected = wanted.node;
  const end = rollout ? tree.nodes.get(tree.ended_at[rollout - 1]) : null,
    node = tree.nodes.get(selected);
  const changed = [end, node].filter(one => one && reveal(one)).length;
  if (changed) draw();
  else mark();
  if (node) center(node, true);
  panel();
  remember();
}

function remember() {
  const parts = [
    `tree=${index}`,
    rollout && `rollout=${rollout}`,
    selected !== null && `node=${selected}`,
    find("untried").checked && "untried=1",
    find("dropped").checked && "dropped=1",
  ].filter(Boolean);
  const hash = `#${parts.join("&")}`;
  if (location.hash !== hash) history.replaceState(null, "", hash);
}

// The view that an address names; numbers that mean nothing here are left out.
function named() {
  const given = new URLSearchParams(location.hash.slice(1));
  const number = (name, least, most) =>
    /^\d+$/.test(given.get(name) ?? "") && +given.get(name) >= least && +given.get(name) <= most
      ? +given.get(name)
      : null;
  const i = number("tree", 0, data.trees.length - 1) ?? 0,
    raw = data.trees[i];
  const wanted = {
    tree: i,
    untried: given.get("untried") === "1",
    dropped: given.get("dropped") === "1",
    rollout: number("rollout", 1, raw.ended_at.length) ?? 0,
  };
  const node = number("node", 0, Infinity);
  if (raw.nodes.some(row => row.number === node)) wanted.node = node;
  else if (!wanted.rollout) wanted.node = null;
  return wanted;
}

function start() {
  find("note").textContent = visible(data.note);
  const keys = [
    ["right", "right"],
    ["wrong", "wrong"],
    ["ended", "ends without answer"],
    ["unchecked", "not decided"],
  ];
  find("keys").replaceChildren(
    h("span", {}, "Q −1", h("i", {class: "scale", "aria-hidden": "true"}), "+1"),
    h("span", {class: "inner"}, glyph({kind: "inner", tried: true, visits: 7, q: 0}, 7, 20), " a step with its visits"),
    ...keys.map(([name, words]) => marked(name, words)),
    h("span", {class: "soft"}, "hollow: not followed"),
    h("span", {class: "how"}, "How to read this"),
  );
  if (matchMedia("(max-width: 760px)").matches) find("chooser").open = false;

  find("search").addEventListener("input", chooser);
  find("back").addEventListener("click", () => go({rollout: rollout - 1}));
  find("next").addEventListener("click", () => go({rollout: rollout + 1}));
  for (const name of ["untried", "dropped"])
    find(name).addEventListener("change", () => {
      if (name === "untried") modes.clear();
      draw();
      remember();
    });
  find("in").addEventListener("click", () => scale(zoom * 1.25));
  find("out").addEventListener("click", () => scale(zoom / 1.25));
  find("fit").addEventListener("click", () => fit());
  find("reset").addEventListener("click", () => {
    const i = index;
    index = -1;
    go({tree: i, ...PLAIN});
  });
  addEventListener("hashchange", () => go(named()));
  addEventListener("keydown", event => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (
      !step ||
      event.altKey ||
      event.ctrlKey ||
      event.metaKey ||
      event.shiftKey ||
      event.target.matches?.("input[type=search]")
    )
      return;
    event.preventDefault();
    if (rollout + step >= 1 && rollout + step <= tree.ended_at.length) go({rollout: rollout + step});
  });
  find("world").addEventListener("keydown", keyInTree);
  find("world").addEventListener("focusin", event => {
    if (event.target.dataset.node) roving(event.target);
  });
  const view = find("view");
  view.addEventListener(
    "wheel",
    event => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const box = view.getBoundingClientRect();
      scale(zoom * Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
    },
    {passive: false},
  );
  view.addEventListener("pointerdown", event => {
    if (event.button || event.pointerType === "touch" || event.target.closest("button")) return;
    const from = [event.clientX + view.scrollLeft, event.clientY + view.scrollTop];
    const move = event => {
      view.scrollLeft = from[0] - event.clientX;
      view.scrollTop = from[1] - event.clientY;
    };
    const stop = () => {
      view.classList.remove("dragged");
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", stop);
    };
    view.classList.add("dragged");
    addEventListener("pointermove", move);
    addEventListener("pointerup", stop);
  });
  go(named());
}

start();
