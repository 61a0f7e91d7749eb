"""How many responses a problem gets: samples problems side by side, each until it has enough, and sums them up."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from data_prep.answers import AnswerChecker, Judgement
    from data_prep.engines import Completion, Request

    Stream = Callable[[deque[Request]], Iterator[tuple[Request, Completion, bool]]]

N_PROBE = 32  # problems whose first responses tell whether a server's chat template opens the thought


@dataclass
class PlanArguments:
    n_samples: int = field(default=4, metadata={"help": "responses per problem; if adaptive, the most"})
    adaptive: bool = field(default=False, metadata={"help": "stop at a problem when its band is settled"})
    min_samples: int = field(default=4, metadata={"help": "responses before it can stop"})
    round_samples: int = field(default=2, metadata={"help": "responses asked for at a time after those"})
    bands: list[float] = field(
        default_factory=lambda: [0.8, 0.4],
        metadata={"help": "pass rate from which a problem is easy, medium (above 0: hard, none right: unsolved)"},
    )
    band_error: float = field(
        default=0.1, metadata={"help": "chance that the responses left out would have changed the band"}
    )
    stop_after_right: int | None = field(
        default=None, metadata={"help": "stop at a problem that has so many right responses (default: never)"}
    )
    unverifiable_samples: int | None = field(
        default=None,
        metadata={"help": "responses where no answer can be checked (default: if adaptive min_samples, else all)"},
    )

    @property
    def in_rounds(self) -> bool:
        return self.adaptive or self.stop_after_right is not None

    def check(self) -> None:
        """Raises ValueError for values out of range, and for those without effect."""
        from data_prep.bands import check_bounds

        for name, ok, wanted in (
            ("n_samples", self.n_samples > 0, "at least 1"),
            ("min_samples", self.min_samples > 0, "at least 1"),
            (
                "min_samples",
                not self.in_rounds or self.min_samples < self.n_samples,
                f"--adaptive and --stop_after_right need fewer than --n_samples {self.n_samples}",
            ),
            ("round_samples", self.round_samples > 0, "at least 1"),
            ("band_error", 0 <= self.band_error < 1, "0 or more, below 1"),
            ("stop_after_right", self.stop_after_right is None or self.stop_after_right > 0, "at least 1"),
            (
                "unverifiable_samples",
                self.unverifiable_samples is None or 0 < self.unverifiable_samples <= self.n_samples,
                f"at least 1, at most --n_samples {self.n_samples}",
            ),
        ):
            if not ok:
                raise ValueError(f"--{name} {getattr(self, name)}: {wanted}")
        check_bounds(self.bands)

    def most(self, verifiable: bool) -> int:
        """Responses that a problem gets at most."""
        if verifiable:
            return self.n_samples
        return self.unverifiable_samples or (self.min_samples if self.adaptive else self.n_samples)

    def wanted(self, verdicts: Sequence[str], verifiable: bool = True) -> int:
        """How many responses a problem should have that has these verdicts: as many as it has, and it is done.

        `verifiable`: whether it has an answer that can be checked. Where it only seemed so, the verdicts show it.
        """
        from data_prep.bands import settled

        n, n_right = len(verdicts), verdicts.count("right")
        most = self.most(verifiable and not is_unverifiable(verdicts))
        if self.stop_after_right is not None and n_right >= self.stop_after_right:
            return n
        if self.adaptive and settled(n_right, n, most, self.bands, self.band_error):
            return n
        step = most if not self.in_rounds else self.round_samples if n else self.min_samples
        return max(n, min(most, n + step))


class Judged(NamedTuple):
    """A response without its text. `cut`: it reached the limit of tokens."""

    judgement: "Judgement"
    n_tokens: int
    cut: bool


def is_unverifiable(verdicts: Sequence[str]) -> bool:
    """Whether the checker could not read the gold. Only a response with the very same text is right then."""
    return "unverifiable" in verdicts and "right" not in verdicts


def requests_for(prompts: Sequence[Any], counts: Iterable[int]) -> "deque[Request]":
    """Requests for the first so many responses to each prompt, named by its number."""
    from data_prep.engines import Request

    return deque(Request(i, prompts[i], j) for i, n in enumerate(counts) for j in range(n))


def sample(
    stream: "Stream",
    problems: Sequence[Mapping[str, Any]],
    prompts: Sequence[Any],
    plan: PlanArguments,
    checker: "AnswerChecker",
) -> list[list[Judged]]:
    """The judged responses to each problem, in order of their numbers. `stream`: an engine's, with its settings.

    Whether a problem gets more is decided when all that were asked for are there, on them alone: the outcome does not
    depend on the order in which responses come, so that a killed run goes on to the same one. Problems do not wait for
    each other. Further rounds go behind what is asked already, so that the work ends with many problems' last rounds.
    """
    import time

    from tqdm.auto import tqdm

    from data_prep.curation.golds import unverifiable
    from data_prep.engines import Request
    from data_prep.formats import opens_thought
    from data_prep.responses import judge

    # Long prompts first, which leaves batches little padding.
    order = sorted(range(len(problems)), key=lambda i: -len(str(prompts[i])))
    verifiable = [unverifiable(problem["answer"], problem["problem"]) is None for problem in problems]
    asked = [0] * len(problems)
    found: list[dict[int, Judged]] = [{} for _ in problems]
    requests: deque[Request] = deque()

    def ask(i: int, n: int) -> None:
        requests.extend(Request(i, prompts[i], j) for j in range(asked[i], n))
        asked[i] = n

    for i in order:
        ask(i, plan.wanted([], verifiable[i]))
    # Messages do not tell whether the server's template opens the thought. Responses do, always the same ones.
    probe = {i: "" for i in order[:N_PROBE]}
    n_probes_left = 0 if isinstance(prompts[0], str) else len(probe)
    thought_open = opens_thought(prompts[0], []) if not n_probes_left else None
    held: list[tuple[Request, Completion]] = []  # until that is known
    n_right = n_judged = n_new_tokens = 0
    total = sum(map(plan.most, verifiable))
    # smoothing 0: rates are averages, since responses that take minutes come in bursts
    with tqdm(total=total, desc="sampling", unit=" responses", disable=None, smoothing=0) as bar:
        begin = time.monotonic()
        for request, completion, known in stream(requests):
            if known and not bar.disable:
                bar.initial += 1  # no part of the rate
            n_new_tokens += 0 if known else completion.n_tokens
            held.append((request, completion))
            if thought_open is None:
                if request.sample == 0 and request.name in probe:
                    n_probes_left -= 1
                    probe[request.name] = completion.text if completion.finish_reason == "stop" else ""
                if n_probes_left:
                    continue
                thought_open = opens_thought(prompts[0], filter(None, probe.values()))
            for (i, _, j), response in held:
                problem = problems[i] if verifiable[i] else {**problems[i], "answer": None}
                judgement = judge(checker, problem, response.text, thought_open)
                found[i][j] = Judged(judgement, response.n_tokens, response.finish_reason == "length")
                n_right += judgement.verdict == "right"
                n_judged += 1
                if len(found[i]) == asked[i]:
                    ask(i, plan.wanted([own.judgement.verdict for own in found[i].values()], verifiable[i]))
                    if len(found[i]) == asked[i]:
                        bar.total -= plan.most(verifiable[i]) - asked[i]
            speed = n_new_tokens / max(time.monotonic() - begin, 1e-9)
            bar.set_postfix_str(f"{speed:,.0f} tokens/s, {n_right / n_judged:.1%} right", refresh=False)
            bar.update(len(held))
            held.clear()
    if thought_open and not isinstance(prompts[0], str):
        print("thought    the server's template opens it: a response that never closes it has no answer")
    return [[own[j] for j in sorted(own)] for own in found]


def summarise(plan: PlanArguments, judged: Sequence[Sequence[Judged]]) -> dict[str, Any]:
    """Counts of responses and problems: by verdict, by band with mean pass rate, tokens, and responses not sampled."""
    from data_prep.bands import BANDS, band_of

    names = (*BANDS, "unverifiable")
    bands: dict[str, dict[str, Any]] = {band: {"problems": 0, "responses": 0, "right": 0} for band in names}
    rates: dict[str, list[float]] = {band: [] for band in names}
    for own in judged:
        verdicts = [one.judgement.verdict for one in own]
        n_right = verdicts.count("right")
        band = "unverifiable" if is_unverifiable(verdicts) else band_of(n_right / len(own), plan.bands)
        bands[band]["problems"] += 1
        bands[band]["responses"] += len(own)
        bands[band]["right"] += n_right
        rates[band].append(n_right / len(own))
    for band, shares in rates.items():
        bands[band]["pass_rate"] = sum(shares) / len(shares) if shares else None
    everything = [one for own in judged for one in own]
    counts = Counter(one.judgement.verdict for one in everything)
    return {
        "problems": len(judged),
        "responses": len(everything),
        "verdicts": {name: counts[name] for name in ("right", "wrong", "unverifiable", "timed out")},
        "cut": sum(one.cut for one in everything),
        "tokens": sum(one.n_tokens for one in everything),
        "bands": bands,
        "samples_saved": len(judged) * plan.n_samples - len(everything),
    }


def table(summary: Mapping[str, Any]) -> str:
    """The summary as text."""
    lines = [f"{'band':12} {'problems':>9} {'responses':>10} {'pass rate':>10}"]
    for band, counts in summary["bands"].items():
        rate = "" if counts["pass_rate"] is None or band == "unverifiable" else f"{counts['pass_rate']:.1%}"
        lines.append(f"{band:12} {counts['problems']:9,} {counts['responses']:10,} {rate:>10}".rstrip())
    shown = ", ".join(f"{n:,} {verdict}" for verdict, n in summary["verdicts"].items())
    n, saved = summary["responses"], summary["samples_saved"]
    lines.append(f"{n:,} responses: {shown}; {summary['cut']:,} cut at the limit; {summary['tokens']:,} tokens")
    if saved:
        lines.append(f"{saved:,} of {n + saved:,} responses saved by stopping early ({saved / (n + saved):.0%})")
    return "\n".join(lines)
