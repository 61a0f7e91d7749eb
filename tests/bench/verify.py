"""Answer checking on real responses: our checker against Math-Verify on whole responses, and both on labelled cases.

    REDSTAR_DATA=... python -m tests.bench.verify                          # about 3 minutes on 2 cores
    REDSTAR_DATA=... python -m tests.bench.verify --disagreements d.jsonl  # also Math-Verify on every row: 9 minutes

Needs `long_cot/` and `answer_equivalence/` below $REDSTAR_DATA: 10,399 responses of many models to AIME24, AMC23,
MATH-500, Minerva and OlympiadBench (NovaSky-AI/SkyThought), and Math-Verify's own test cases. Each side is a fresh
process with `--processes` workers, interpreter running but nothing imported or remembered; its clock runs from the
first import to the last verdict. Both read whole responses, ours with `lenient=True`: the last box, or what is stated
last. Math-Verify reads a sample of the responses; its rate is reckoned for all of them, so that its start counts as
little as ours. The sides take turns `--repeats` times, and medians are reported.

`slowest_s`: the slowest row of ours, in its own time. `fallback_rows`: rows that Math-Verify decided for us;
`undecided`: answers that nobody could read, which are wrong. With `--disagreements`, `precision` and `recall` take the
rows where both agree as they are, and the others as reading them judged (`tests/data_prep/judged_rows.json`; rows that
nobody judged are left out and counted as `unjudged`). `case_accuracy`: labelled cases where the verdict is the one that
Math-Verify's tests assert; most answers there are sentences.
"""

import argparse
import json
import logging
import lzma
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench.common import ROOT, cpu_name, print_result, print_table

Pair = tuple[str, str]  # gold, response


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--processes", type=int, default=2, help="Math-Verify workers of either side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, help="only so many responses, drawn at random")
    parser.add_argument("--sample", type=int, default=600, help="responses that Math-Verify reads in one turn")
    parser.add_argument(
        "--disagreements", type=Path, help="writes the rows where the two differ: all responses are read"
    )
    return parser.parse_args()


def read_rows(n: int | None) -> list[Pair]:
    folder = Path(os.environ["REDSTAR_DATA"]) / "long_cot"
    with lzma.open(folder / "problems.jsonl.xz", "rt", encoding="utf-8") as lines:
        golds = {(row["dataset"], row["problem_id"]): str(row["gold"]) for row in map(json.loads, lines)}
    with lzma.open(folder / "responses.jsonl.xz", "rt", encoding="utf-8") as lines:
        rows = [(golds[row["dataset"], row["problem_id"]], row["response"]) for row in map(json.loads, lines)]
    return rows if n is None else random.Random(0).sample(rows, n)


def read_cases() -> list[tuple[str, str, bool]]:
    path = Path(os.environ["REDSTAR_DATA"]) / "answer_equivalence" / "math_verify_cases.jsonl"
    cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(case["gold"], case["pred"], case["expected"]) for case in cases if case["kind"] == "equivalence"]


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run_and_send, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def run_and_send(sender: Any, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    sender.send(function(*arguments))


def ours(rows: Sequence[Pair], processes: int) -> dict[str, Any]:
    """All rows as `AnswerChecker.judge_all(..., lenient=True)` takes them, with every row's own time."""
    began = time.perf_counter()
    from data_prep.answers import AnswerChecker, find_answer

    took = [0.0] * len(rows)
    verdicts: list[Any] = ["wrong"] * len(rows)
    asked: dict[Pair, Any] = {}

    def ask(pair: Pair) -> tuple[str, float]:
        worker = checker.free.get()  # waiting for a worker is not the row's own time
        checker.free.put(worker)
        started = time.perf_counter()
        return checker.ask(*pair), time.perf_counter() - started

    with AnswerChecker(workers=processes) as checker:
        waiting: dict[int, Pair] = {}
        for i, (gold, response) in enumerate(rows):
            started = time.perf_counter()
            answer, _ = find_answer(response, lenient=True)
            if answer is not None:
                verdict = checker.quickly(gold, answer)
                if verdict is None:
                    if (gold, answer) not in asked:
                        asked[gold, answer] = checker.threads.submit(ask, (gold, answer))
                    waiting[i] = (gold, answer)
                else:
                    verdicts[i] = verdict
            took[i] = time.perf_counter() - started
        for i, pair in waiting.items():
            verdicts[i], seconds = asked[pair].result()
            took[i] += seconds
        counts = dict(checker.counts)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "slowest_s": max(took),
        "verdicts": verdicts,
        "fallback_rows": len(waiting),
        "counts": counts,
        "timeouts": verdicts.count("timed out"),
    }


def math_verify_verdict(pair: Pair) -> bool:
    """Math-Verify as its README uses it, on the whole response, its own time-outs on."""
    from math_verify import parse, verify

    gold, response = pair
    try:
        return bool(verify(parse(f"${gold}$"), parse(response)))
    except Exception:  # its own on hostile text
        return False


def math_verify(rows: Sequence[Pair], processes: int) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(processes, logging.disable, (logging.CRITICAL,)) as pool:
        began = time.perf_counter()
        pool.map(math_verify_verdict, [("1", "$1$")] * processes, chunksize=1)
        started = time.perf_counter()
        verdicts = pool.map(math_verify_verdict, rows, chunksize=8)
        done = time.perf_counter()
    return {"start": started - began, "seconds": done - started, "verdicts": verdicts}


def case_verdicts(cases: Sequence[tuple[str, str, bool]], processes: int) -> list[bool]:
    from data_prep.answers import AnswerChecker, find_answer, last_boxed

    with AnswerChecker(workers=processes) as checker:
        pairs = []
        for gold, answer, _ in cases:  # golds are texts with the answer somewhere in them, too
            truth = last_boxed(gold) or (find_answer(gold, lenient=True)[0] if len(gold.split()) > 20 else gold)
            pairs.append((truth or gold, find_answer(answer, lenient=True)[0] or answer))
        return [verdict == "right" for verdict in checker.compare_all(pairs)]


def main() -> None:
    args = parse()
    if "REDSTAR_DATA" not in os.environ:
        sys.exit("tests.bench.verify needs long_cot/ and answer_equivalence/ below the folder named by $REDSTAR_DATA")
    began = time.perf_counter()
    rows, cases = read_rows(args.rows), read_cases()
    sample = random.Random(1).sample(range(len(rows)), min(args.sample, len(rows)))
    first, rates, their_rates, slowest = None, [], [], []
    for _ in range(args.repeats):
        result = in_fresh_process(ours, rows, args.processes)
        theirs = in_fresh_process(math_verify, [rows[i] for i in sample], args.processes)
        rates.append(len(rows) / result["seconds"])
        their_rates.append(len(rows) / (theirs["start"] + theirs["seconds"] / len(sample) * len(rows)))
        slowest.append(result["slowest_s"])
        first = first or result
    assert first
    agree = [(first["verdicts"][i] == "right") == theirs["verdicts"][j] for j, i in enumerate(sample)]
    expected = [label for _, _, label in cases]
    our_cases = case_verdicts(cases, args.processes)
    with multiprocessing.get_context("spawn").Pool(1, logging.disable, (logging.CRITICAL,)) as pool:
        their_cases = pool.map(case_by_math_verify, cases)
    speeds = [["ours", statistics.median(rates)], ["Math-Verify", statistics.median(their_rates)]]
    print_table(["side", "rows/s"], speeds)
    judged = (
        write_disagreements(args.disagreements, rows, first["verdicts"], args.processes) if args.disagreements else {}
    )
    print_result(
        {
            "rows": len(rows),
            "processes": args.processes,
            "rows_per_s": speeds[0][1],
            "math_verify_rows_per_s": speeds[1][1],
            "ratio": statistics.median(a / b for a, b in zip(rates, their_rates, strict=True)),
            "slowest_s": statistics.median(slowest),
            "fallback_rows": first["fallback_rows"],
            "timeouts": first["timeouts"],
            "undecided": first["counts"].get("undecided", 0),
            "counts": first["counts"],
            "right": first["verdicts"].count("right"),
            "agreement": statistics.mean(agree),
            **judged,
            "cases": len(cases),
            "case_accuracy": statistics.mean(a == b for a, b in zip(our_cases, expected, strict=True)),
            "math_verify_case_accuracy": statistics.mean(a == b for a, b in zip(their_cases, expected, strict=True)),
            "device": f"{cpu_name()}, {os.cpu_count()} cores",
            "seconds": time.perf_counter() - began,
        }
    )


def case_by_math_verify(case: tuple[str, str, bool]) -> bool:
    from math_verify import parse, verify

    try:
        return bool(verify(parse(case[0]), parse(case[1])))
    except Exception:
        return False


def write_disagreements(path: Path, rows: Sequence[Pair], verdicts: Sequence[str], processes: int) -> dict[str, Any]:
    """One JSON line per row where the verdicts differ: its number, gold, our extraction and verdict, theirs."""
    from data_prep.answers import extract_answer

    theirs = in_fresh_process(math_verify, rows, processes)["verdicts"]
    judged = json.loads((ROOT / "tests" / "data_prep" / "judged_rows.json").read_text())
    right, wrong, lines = set(judged["right"]), set(judged["wrong"]), []
    found = hits = truths = unjudged = 0
    for i, ((gold, response), verdict, other) in enumerate(zip(rows, verdicts, theirs, strict=True)):
        ours_right = verdict == "right"
        if ours_right != other:
            answer = extract_answer(response, lenient=True)
            lines.append({"row": i, "gold": gold, "extracted": answer, "ours": verdict, "math_verify": other})
            unjudged += i not in right and i not in wrong
            if i not in right and i not in wrong:
                continue
        truth = i in right if ours_right != other else other
        found, truths, hits = found + ours_right, truths + truth, hits + (ours_right and truth)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    print(f"{len(lines)} of {len(rows)} rows differ: {path}")
    return {"differ": len(lines), "unjudged": unjudged, "precision": hits / found, "recall": hits / truths}


if __name__ == "__main__":
    main()
