"""Compares answers with Math-Verify in a process of its own: JSON pairs `[gold, answer]` in, verdicts out.

Math-Verify may run for minutes on hostile input and can only be stopped from outside, so whoever talks to this process
kills it when an answer does not come. Its own time-outs are off: they work by signals. Memory is limited to 4 GiB.
"""

import json
import logging
import resource
import sys

MEMORY = 4 * 1024**3


def main() -> None:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    logging.disable(logging.CRITICAL)
    sys.set_int_max_str_digits(100_000)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    targets = [LatexExtractionConfig(), ExprExtractionConfig()]

    def parsed(text: str) -> list:
        return parse(f"\\boxed{{{text}}}", extraction_config=targets, parsing_timeout=None)

    for line in sys.stdin:
        gold, answer = json.loads(line)
        try:
            truth, claim = parsed(gold), parsed(answer)
            if not truth:
                verdict = "unverifiable"
            elif not claim:
                verdict = "unreadable"
            else:
                # The gold goes first: the comparison is not symmetric.
                verdict = "right" if verify(truth, claim, timeout_seconds=None) else "wrong"
        except Exception:  # whatever it raises on such text, the answer was not shown to be right
            verdict = "wrong"
        print(verdict, flush=True)


if __name__ == "__main__":
    main()
