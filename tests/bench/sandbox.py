"""The sandbox: programs a second against a fresh Python for each, and whether any hostile program gets out.

    python -m tests.bench.sandbox                    # about 40 seconds on 2 cores
    python -m tests.bench.sandbox --smoke            # seconds

Three kinds take turns `--repeats` times after a warm-up, and medians are reported: distinct one-line programs
(`executions_per_s`) and distinct programs that import sympy and solve a quadratic with integer roots
(`sympy_executions_per_s`) in a sandbox with `--workers` processes; and the latter in a plain `python -c` each, as many
side by side (`subprocess_sympy_per_s`), without any isolation or limit. The outputs of all are compared with what is
right. `attacks`: programs of `tests/data_prep/sandbox/hostile.py`; `escapes`: how many of them got what they must not
have, left traces, or did not end as they have to. In a sandbox that is not closed those that only read are left out.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

from data_prep.sandbox.client import Program, Sandbox
from tests.bench.common import cpu_name, print_result, print_table
from tests.data_prep.sandbox.hostile import ATTACKS, Bait, escapes


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--programs", type=int, default=1500, help="short programs of one round")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="one short round, a few attacks")
    return parser.parse_args()


def arithmetic() -> Iterator[tuple[str, str]]:
    """Programs and what they print, no two the same."""
    rng = random.Random(0)
    for i in range(10**9):
        a, b = rng.randrange(10**6), rng.randrange(10**6)
        yield f"a, b = {a}, {b}\nprint(a * b + {i})", f"{a * b + i}\n"


def quadratics() -> Iterator[tuple[str, str]]:
    rng = random.Random(0)
    for i in range(10**9):
        a, b = sorted((rng.randrange(-99, 100), i))
        code = f"from sympy import symbols, solve\nx = symbols('x')\nprint(solve(x**2 + {-a - b} * x + {a * b}, x))"
        yield code, f"{[a, b] if a != b else [a]}\n"


def rate(pairs: list[tuple[str, str]], sandbox: Sandbox) -> float:
    began = time.perf_counter()
    executions = sandbox.run_all([Program(code) for code, _ in pairs])
    seconds = time.perf_counter() - began
    assert [execution.output for execution in executions] == [output for _, output in pairs]
    return len(pairs) / seconds


def plain_rate(pairs: list[tuple[str, str]], workers: int) -> float:
    def run(code: str) -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as threads:
        outputs = list(threads.map(run, [code for code, _ in pairs]))
    seconds = time.perf_counter() - began
    assert outputs == [output for _, output in pairs]
    return len(pairs) / seconds


def main() -> None:
    args = parse()
    if args.smoke:
        args.programs, args.repeats = 40, 1
    began = time.perf_counter()
    short, solving = arithmetic(), quadratics()
    attacks = ATTACKS[:: 20 if args.smoke else 1]
    bait = Bait()  # before the sandbox starts: a secret in the environment
    try:
        with Sandbox(args.workers) as sandbox:
            isolation = sandbox.describe()
            for pairs in (short, solving):
                rate([next(pairs) for _ in range(20 * args.workers)], sandbox)
            rates: list[tuple[float, float, float]] = []
            for _ in range(args.repeats):
                rates.append((
                    rate([next(short) for _ in range(args.programs)], sandbox),
                    rate([next(solving) for _ in range(args.programs // 5)], sandbox),
                    plain_rate([next(solving) for _ in range(2 * args.workers)], args.workers),
                ))  # fmt: skip
            closed = sandbox.is_closed
        with Sandbox(1) as sandbox:  # one worker: a trace is the last program's
            tried = [attack for attack in attacks if closed or not attack.reads]
            got = {}
            for attack in tried:
                timeout = 0.6 if "timed out" in attack.statuses else 5.0
                if found := escapes(attack, sandbox, bait, timeout):
                    got[attack.name] = found
    finally:
        bait.close()
    names = ("executions_per_s", "sympy_executions_per_s", "subprocess_sympy_per_s")
    medians = [statistics.median(column) for column in zip(*rates)]
    print_table(
        ["programs a second", "median", "lowest", "highest"],
        [[name.removesuffix("_per_s"), m, min(c), max(c)] for name, m, c in zip(names, medians, zip(*rates))],
    )
    for name, found in got.items():
        print(f"escaped: {name}: {'; '.join(found)}")
    print(f"isolation: {isolation}")
    print_result(
        {
            **dict(zip(names, medians)),
            "ratio_sympy": medians[1] / medians[2],
            "attacks": len(tried),
            "escapes": len(got),
            "workers": args.workers,
            "isolation": isolation,
            "programs": args.programs,
            "repeats": args.repeats,
            "device": f"{cpu_name()}, {os.cpu_count()} cores",
            "python": sys.version.split()[0],
            "sympy": version("sympy"),
            "seconds": time.perf_counter() - began,
        }
    )


if __name__ == "__main__":
    main()
