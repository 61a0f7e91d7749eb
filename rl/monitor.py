"""What is to be watched while a policy learns: warnings from a run's log, and its curves.

    python -m rl.monitor outputs/grpo                  # a finished or running one: warnings, and curves.svg

Everything is read from the log that trainers keep (`log_history`, in every checkpoint too), so a resumed run and one
that ended long ago are watched alike. docs/rl.md says what each curve means and what to do.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from transformers import TrainerCallback

Line = Mapping[str, Any]

WINDOW = 10  # lines of the log at the beginning, and at the end, that are compared
SURE = 4.0  # standard errors: a long run is looked at after every line, and must not be warned of by chance
GAP = 0.5  # standard deviations of a rollout
ALL_THE_SAME, ENDLESS, UNRELATED = 0.99, 0.5, 0.1
WILD = 3.0  # times the entropy of the beginning


def warnings_of(history: Sequence[Line]) -> dict[str, str]:
    """What is wrong with a run, by the lines of its log so far: name -> one sentence that says what to do.

    The last `WINDOW` lines are compared with the first ones, by means of the lines and their standard error; a change
    counts where it is both large and more than `SURE` standard errors.

    - `gap`: what steps are paid has risen, and by more than `GAP` standard deviations (of a rollout at the beginning)
      above what accuracy has: the policy pleases the process reward model, and is not more often right.
    - `unrelated`: in the last lines the scores of solutions have nothing to do with their being right.
    - `worse`: accuracy has fallen by `GAP` standard deviations.
    - `no signal`: all groups have equal rewards. `endless`: most rollouts are cut. `wild`: entropy has risen manifold.
    - `unseen`: held-out problems with figures are answered as well with white or exchanged ones, or the difference has
      shrunk.
    """
    lines = [line for line in history if "reward" in line]
    found = unseen(
        [line for line in history if "eval_figures/problems" in line and line["eval_rewards/outcome/mean"] is not None]
    )
    if len(lines) < WINDOW:
        return found
    last = lines[-WINDOW:]
    if least(last, "frac_reward_zero_std") >= ALL_THE_SAME:
        found["no signal"] = (
            f"in the last {WINDOW} lines all rollouts of each problem have the same reward, and nothing is learned: "
            "give problems that are solved sometimes (--pass_rate), more rollouts, or a higher temperature"
        )
    if least(last, "completions/clipped_ratio") > ENDLESS:
        found["endless"] = (
            f"{mean(last, 'completions/clipped_ratio'):.0%} of the rollouts do not end: give a larger "
            "--max_completion_length, or --overlong_tokens so that length costs"
        )
    related = mean(last, "process/correlation_with_outcome")
    if related + SURE * error(last, "process/correlation_with_outcome") / 2 < UNRELATED:
        found["unrelated"] = (
            f"scores of steps and right answers correlate by {related:.2f}: the process reward model cannot judge this "
            "policy (any more): train it on trees of this one, or leave it out"
        )
    if len(lines) < 2 * WINDOW:
        return found
    first = lines[:WINDOW]
    right = change(first, last, "rewards/outcome/mean", "rewards/outcome/std")
    paid = change(first, last, "process/reward", "process/reward_std")
    gap, uncertain = paid[0] - right[0], math.hypot(paid[1], right[1])
    if gap > max(GAP, SURE * uncertain) and paid[0] > SURE * paid[1]:
        found["gap"] = (
            f"what steps are paid has risen by {paid[0]:+.1f} standard deviations, accuracy by {right[0]:+.1f}: the "
            "reward is being exploited: look at the rollouts, use --process_credit recovery with the gate, a smaller "
            "--process_weight, or a new process reward model"
        )
    if right[0] < -max(GAP, SURE * right[1]):
        found["worse"] = (
            f"accuracy has fallen from {mean(first, 'rewards/outcome/mean'):.0%} to "
            f"{mean(last, 'rewards/outcome/mean'):.0%}: give a lower learning rate, or a KL penalty (--beta)"
        )
    before, after = mean(first, "entropy"), mean(last, "entropy")
    if after > WILD * before and after - before > SURE * math.hypot(error(first, "entropy"), error(last, "entropy")):
        found["wild"] = (
            f"the entropy of a token has risen from {before:.2f} to {after:.2f}: the policy is coming apart: give a "
            "lower learning rate, or a KL penalty (--beta)"
        )
    return found


def unseen(measured: Sequence[Line]) -> dict[str, str]:
    """Whether figures are used, by the lines of measurements on held-out problems with figures."""
    if not measured:
        return {}

    def gap(line: Line) -> tuple[float, float, float, float]:
        own, n = float(line["eval_rewards/outcome/mean"]), float(line["eval_figures/problems"])
        other = max(float(line["eval_figures/blank"]), float(line["eval_figures/swapped"]))
        return own, other, own - other, math.sqrt((own * (1 - own) + other * (1 - other)) / n)

    own, other, difference, uncertain = gap(measured[-1])
    _, _, before, uncertain_before = gap(measured[0])
    told = f"{own:.0%} of the held-out problems are right with their figures, {other:.0%} without or with others'"
    if own > SURE * math.sqrt(own * (1 - own) / float(measured[-1]["eval_figures/problems"])) and (
        difference < SURE / 2 * uncertain
    ):
        return {"unseen": f"{told}, no more than chance could make: look at the problems, train the vision tower"}
    if before - difference > SURE * math.hypot(uncertain, uncertain_before):
        return {"unseen": f"{told}, a difference that was {before:.0%}: the policy learns to do without figures"}
    return {}


def values(lines: Sequence[Line], name: str) -> list[float]:
    return [float(line[name]) for line in lines if line.get(name) is not None and math.isfinite(float(line[name]))]


def mean(lines: Sequence[Line], name: str) -> float:
    """NaN, with which no comparison holds, where no line has it."""
    own = values(lines, name)
    return fmean(own) if own else math.nan


def least(lines: Sequence[Line], name: str) -> float:
    own = values(lines, name)
    return min(own) if len(own) == len(lines) else math.nan


def error(lines: Sequence[Line], name: str) -> float:
    """Standard error of the mean over lines."""
    own = values(lines, name)
    return math.sqrt(variance(own) / len(own)) if len(own) > 1 else math.nan


def change(first: Sequence[Line], last: Sequence[Line], name: str, deviation: str) -> tuple[float, float]:
    """By how much it has risen and the standard error of that, in standard deviations of a rollout at the beginning."""
    unit = mean(first, deviation)
    if not unit > 0:
        return math.nan, math.nan
    risen = mean(last, name) - mean(first, name)
    return risen / unit, math.hypot(error(first, name), error(last, name)) / unit


class Monitor(TrainerCallback):
    """Prints each warning once, when it first holds, and keeps it in `warned` (name -> the step)."""

    def __init__(self) -> None:
        self.warned: dict[str, int] = {}

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if not state.is_world_process_zero or "reward" not in (logs or {}):
            return
        for name, text in warnings_of(state.log_history).items():
            if name not in self.warned:
                self.warned[name] = state.global_step
                print(f"warning    step {state.global_step:,}: {name}: {text}", file=sys.stderr, flush=True)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A resumed run knows what the log said before."""
        self.warned = first_warnings(state.log_history)


def first_warnings(history: Sequence[Line]) -> dict[str, int]:
    """The step at which each warning first held."""
    found: dict[str, int] = {}
    for n, line in enumerate(history, 1):
        if "reward" in line:
            for name in warnings_of(history[:n]):
                found.setdefault(name, int(line.get("step", 0)))
    return found


# Panels of the curves: title, and the values of the log in it.
PANELS = (
    ("right answers", ("rewards/outcome/mean", "eval_rewards/outcome/mean")),
    ("what steps are paid", ("process/reward",)),
    ("score of the last step", ("process/score_last",)),
    ("scores with right answers: correlation", ("process/correlation_with_outcome",)),
    ("tokens of a rollout", ("completions/mean_length", "completions/mean_terminated_length")),
    ("steps of a rollout", ("process/steps",)),
    ("rollouts that were cut", ("completions/clipped_ratio",)),
    ("groups without a signal", ("frac_reward_zero_std",)),
    ("rollouts that correct themselves, or loop", ("text/self_correction", "text/loops")),
    ("entropy of a token", ("entropy",)),
    ("KL to the first policy", ("kl", "kl_in_reward")),
    ("tokens that were clipped", ("clip_ratio/region_mean",)),
    ("norm of the gradient", ("grad_norm",)),
    ("critic: explained variance", ("critic/explained_variance",)),
)


SHARES = ("rewards/outcome/mean", "completions/clipped_ratio", "frac_reward_zero_std", "text/self_correction")


def plot(history: Sequence[Line], path: str | Path) -> None:
    """The curves of a run as SVG, those that its log has."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    shown = [
        (title, own) for title, names in PANELS if (own := [name for name in names if values(history, name)])
    ]  # fmt: skip
    n_columns = 3
    n_rows = -(-max(1, len(shown)) // n_columns)
    figure, axes = plt.subplots(n_rows, n_columns, figsize=(11, 2.3 * n_rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, (title, names) in zip(axes.flat, shown, strict=False):
        for name in names:
            lines = [line for line in history if values([line], name)]
            held_out = name.startswith("eval_")
            axis.plot(
                [line["step"] for line in lines], values(lines, name), marker="o" if held_out else "", markersize=3,
                linewidth=1.6 if held_out else 1.0, label="held out" if held_out else name.rpartition("/")[2],
            )  # fmt: skip
        axis.set_title(title, fontsize=9)
        if names[0] in SHARES:
            axis.set_ylim(-0.03, 1.03)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend(fontsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("step", fontsize=8)
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    states = [path / "trainer_state.json" for path in (folder, *reversed(checkpoints))]
    state = next((path for path in states if path.is_file()), None)
    if state is None:
        sys.exit(f"error: {folder}: no trainer_state.json there or in a checkpoint: has this run saved anything yet?")
    try:
        history = json.loads(state.read_text())["log_history"]
    except ValueError as error:
        sys.exit(f"error: {state}: broken or being written ({error}): try again, or remove that checkpoint")
    now = warnings_of(history)
    for name, step in first_warnings(history).items():
        print(f"{name}, from step {step:,}: {now.get(name, 'no more at the end')}")
    if not now:
        print("nothing to warn of at the end")
    plot(history, folder / "curves.svg")
    print(f"curves in {folder / 'curves.svg'}")


if __name__ == "__main__":
    main()
