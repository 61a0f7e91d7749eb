"""Is an answer right? Extraction from a response, comparison by meaning, Math-Verify behind it in killable processes.

Most answers are decided by `data_prep.equivalence` in a tenth of a millisecond. What it does not understand goes to
Math-Verify, in worker processes that are killed and replaced when they take too long. So a check never hangs, works in
any thread, and raises nothing on any text that a model has written. Where it can't be told, an answer is not right: a
policy that is trained on these verdicts finds every false positive.
"""

import json
import re
import select
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from data_prep.equivalence.comparing import same, same_plain
from data_prep.equivalence.meanings import LABEL, readings
from data_prep.equivalence.text import plain
from data_prep.formats import END_THINK, THINK, is_unclosed

MAX_ANSWER = 2000  # characters; a longer one is compared as text alone
# What Math-Verify is asked about: numbers, names of one letter, and these commands. In words it finds anything, of a
# relation it takes a side, and signs that it does not know it leaves out.
COMMANDS = (
    "frac sqrt binom cdot times div pm mp pi infty sum prod int lim to sin cos tan cot sec csc arcsin arccos arctan "
    "sinh cosh tanh ln log exp alpha beta gamma delta epsilon theta lambda mu sigma omega rho tau phi psi cup cap "
    "setminus lfloor rfloor lceil rceil partial dot ddot mathbb circ emptyset"
).split()
READ_BY_MATH_VERIFY = (
    r"(?:[\d.,;+*/^_(){}\[\]!|\s-]|\\[{}]|¶|&|\\(?:begin|end)\{[pb]matrix\}|(?<![a-zA-Z])[a-zA-Z](?![a-zA-Z])"
    rf"|_\s*\{{\s*[a-z]\s*=|\\(?:{'|'.join(COMMANDS)})(?![a-zA-Z]))*"
)
# Not a function of names, digits side by side, double factorials, digits of a program.
NOT_FOR_MATH_VERIFY = re.compile(r"[fghFGH]\s*[(^]|\d\s+\d|\.\d*\.|!\s*!|\b0[a-zA-Z]")
FOR_MATH_VERIFY = re.compile(f"{READ_BY_MATH_VERIFY}(?:={READ_BY_MATH_VERIFY})?")
MAX_ASKED = 400  # characters

Verdict = Literal["right", "wrong", "unverifiable", "timed out"]
Rule = Literal["box", "stated", "last", "program"]


@dataclass(frozen=True)
class Judgement:
    """`extracted`: the answer found in the response, None if there is none (the verdict is then wrong).

    `rule`: how it was found, see `find_answer`. `detail`: of a program, see `data_prep.sandbox.judging`.
    """

    extracted: str | None
    verdict: Verdict
    rule: Rule | None = None
    detail: str | None = None


# ---------------------------------------------------------------------------------------------------------- extraction

BOX = re.compile(r"\\{1,2}boxed\s*\{")
BRACE = re.compile(r"\\[\\{}]|[{}]")
MAX_BOXES, MAX_OTHERS = 100, 30  # how many are joined, and how many of which nothing is taken are looked at
BETWEEN_BOXES = re.compile(  # nothing but signs or "and", or a few words up to an "and"
    r"(?:[^\w\\]|\\[()\[\],;!]|\\quad|\\qquad|\\text\{\s*(?:and|or)\s*\}|\band\b|\bor\b)*"
    r"|[\w\s$,;()\\{}]{0,40}\band\b[\s$\\(\[{}]*(?:[a-zA-Z](?:_\{?\w\}?)?\s*=\s*)?"
)
STATED = re.compile(
    r"(?:final\s+answer|correct\s+(?:answer|option|choice)|answer)\s*\**\s*(?::|=|\bis\b|\bare\b)\s*\**\s*:?\s*"
    r"|^####\s*",
    re.IGNORECASE | re.MULTILINE,
)
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$((?:[^$\\]|\\.)+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
SPECIAL_TOKENS = re.compile(r"(?:<\|[^|<>]{1,40}\|>(?:user|assistant)?\s*)+$")  # where a model did not stop
UNIT_AT_END = re.compile(r"\s?[\w/°·^-]{0,10}")
SENTENCE_END = re.compile(r"[.!?$)\]}*>\"]\s*$")
NUMBER = re.compile(
    r"[-+]?\$?(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+,\d\d(?!\d)|\d+)(?:\.\d+)?(?:\s*/\s*\d+)?%?(?!\d)|[-+]?(?<![\d,])\.\d+"
)
CHOICE = re.compile(r"\(?\b([A-J])\b\)?(?=[\s.,):]|$)")
PROSE = re.compile(r"\n|(?<![\\a-zA-Z])[a-zA-Z]{2,}[\s:]+\S*[a-zA-Z\d]|(?<![\\a-zA-Z])[a-zA-Z]{4,}\s")
SAYS_NOTHING = frozenset("correct right wrong incorrect boxed highlighted clear clearly indeed as not the that".split())
LONGEST_LINE = 300  # characters after "the answer is" that are looked at
LONGEST_END = 5_000  # characters of a response's end in which anything but a box is looked for


def closed_at(text: str, start: int) -> int | None:
    """Where the brace closes that was opened before `start`; escaped braces do not count."""
    depth = 1
    for brace in BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if not depth:
            return brace.start()
    return None


def last_boxes(text: str) -> list[tuple[int, int, int]]:
    """The last box with something in it, and those before it with nothing but "and" or a comma between them.

    For each the begin of its command, and begin and end of its content; in their order. Of boxes in one another it is
    the outer one, if that is closed. "\\boxed{}" is how a prompt is repeated, and not an answer.
    """
    found: list[tuple[int, int, int]] = []
    n_others = 0  # of which nothing is taken: never closed, empty, or inside or before something else
    joining = True
    for start in reversed(list(BOX.finditer(text))):
        if n_others > MAX_OTHERS or len(found) >= MAX_BOXES:
            break
        end = closed_at(text, start.end())
        if end is None or not re.sub(r"\\boxed|[{}\s]", "", text[start.end() : end]):
            n_others += 1
            continue
        around = bool(found) and end > found[0][0]
        if around:
            found, joining = [box for box in found if box[0] > end], True
        elif found and not (joining and BETWEEN_BOXES.fullmatch(text, end + 1, found[0][0])):
            joining = False
            n_others += 1
            continue
        n_others += around
        found.insert(0, (start.start(), start.end(), end))
    return found


def last_boxed(text: str) -> str | None:
    """Content of the last `\\boxed{...}` with balanced braces; of neighbours, with commas. None if there is none.

    See `last_boxes`.
    """
    return joined(text, last_boxes(text))


def joined(text: str, found: Sequence[tuple[int, int, int]]) -> str | None:
    contents = [text[start:end].strip() for _, start, end in found]
    return contents[0] if len(set(contents)) == 1 else ", ".join(contents) or None


def find_answer(response: str, thought_open: bool = False, lenient: bool = False) -> tuple[str | None, Rule | None]:
    """The answer of a response, and how it was found.

    `box`: the last `\\boxed{...}` after the thought; a box inside the thought does not count once the thought is
    closed, and a response that never closes its thought has given no answer. `thought_open`: the prompt has opened the
    thought already, as some chat templates do. With `lenient` also `stated`, what follows a later "the answer is",
    "Answer:" or "####"; and where there is neither, `last`: the last formula or number. Scores differ by many points
    between the two: keep to one, and never train on the lenient one.
    """
    if is_unclosed(THINK + response if thought_open else response):
        return None, None
    text = response.rpartition(END_THINK)[2]
    found = last_boxes(text)
    boxed = joined(text, found)
    if not lenient:
        return boxed, None if boxed is None else "box"
    # From here on only what follows the last box, and only the end of the response.
    text = text[max(len(text) - LONGEST_END, found[-1][2] if found else 0) :]
    if "<|" in text[-200:]:
        text = SPECIAL_TOKENS.sub("", text)
    for match in reversed(list(STATED.finditer(text))):
        line = text[match.end() : match.end() + LONGEST_LINE].split("\n\n")[0].strip()
        if (answer := stated_in(line)) is not None:
            return answer, "stated"
    if boxed is not None:
        return boxed, "box"
    if len(text) <= LONGEST_LINE and not PROSE.search(text) and readings(text):
        return text.strip(), "last"
    for line in reversed(text.split("\n") if "\\[" not in text and "$$" not in text else [text]):
        formulas, numbers = list(FORMULA.finditer(line)), list(NUMBER.finditer(line))
        last = max([*formulas, *numbers], key=lambda match: match.end(), default=None)
        if last is not None:
            at_end = line.rstrip() == text.rstrip()[-len(line.rstrip()) :] and line.count("(") == line.count(")")
            at_end = at_end and UNIT_AT_END.fullmatch(line.rstrip(), last.end()) is not None
            if len(text) > LONGEST_LINE and not at_end and not SENTENCE_END.search(text):
                return None, None  # cut in the middle of a sentence: the last number is chance
            inner = next(filter(None, last.groups()), last[0]) if last in formulas else last[0]
            # An escaped dollar sign that no amount follows was meant as the end of a formula.
            return re.split(r"\\\$(?!\s*\d)", inner)[-1].strip(), "last"
    return None, None


def stated_in(line: str) -> str | None:
    """The answer at the beginning of a line that states it: a formula, a choice, or what stands up to the full stop."""
    line = line.lstrip("* :")
    if match := FORMULA.match(line):
        following = line[match.end() :]
        unit = re.match(r"\s*(%|percent|degrees)", following)
        return next(filter(None, match.groups())).strip() + (unit[1] if unit else "")
    if match := CHOICE.match(line):
        return match[1]
    sentence = re.split(r"\n|\.(?:\s|$)|(?<=\S)\s*\*\*", line)[0].strip(" *$")
    sentence = re.split(r"\b(?:is|are)\b", sentence)[-1].strip(" *$:")
    if formulas := [next(filter(None, match.groups())).strip() for match in FORMULA.finditer(sentence)]:
        listed = re.fullmatch(r"[\s,\"'\\]*(?:(?:and|or)[\s,\"'\\]*)*", FORMULA.sub("", sentence))
        return ", ".join(formulas) if listed else formulas[-1]
    if number := NUMBER.search(sentence):  # "indeed 6", "12 inches"; but "x = 3" and "(1, 2)" as they stand
        return sentence[number.start() :] if re.match(r"[a-zA-Z]{2,}\s", sentence) else sentence
    words = sentence.split()
    return sentence if 0 < len(words) <= 3 and not SAYS_NOTHING.intersection(words) else None


def extract_answer(response: str, thought_open: bool = False, lenient: bool = False) -> str | None:
    """The answer of a response, or None; see `find_answer`."""
    return find_answer(response, thought_open, lenient)[0]


# ------------------------------------------------------------------------------------------------------------ checking


def choice_of(answer: str, choices: Sequence[str]) -> int | None:
    """Which of the choices an answer means by its letter, its text or its value; None if none, or two of them."""
    if len(answer) > MAX_ANSWER:
        return None
    text = plain(answer)
    label = LABEL.fullmatch(text)
    letter = next(filter(None, label.groups()[:3])) if label else re.sub(r"[⟨⟩().:\s]", "", text)
    by_letter = ord(letter.upper()) - ord("A") if re.fullmatch("[A-Za-z]", letter) else None
    if by_letter is not None and by_letter >= len(choices):
        by_letter = None
    content = label[4] if label else text
    by_content = [i for i, choice in enumerate(choices) if same_plain(plain(choice), content)]
    if label:  # both have to be the same choice
        return by_letter if by_letter in by_content else None
    if len(by_content) == 1:
        return by_content[0]
    return by_letter if not by_content else None


class Worker:
    """One Math-Verify process, started when it is first asked."""

    def __init__(self, timeout: float):
        self.timeout = timeout
        self.process: subprocess.Popen[str] | None = None

    def ask(self, gold: str, answer: str) -> str:
        """Verdict of the process, or `timed out` or `died`, after which the next question starts another one."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "data_prep.math_verify_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=Path(__file__).parents[1],
            )
            # The imports take seconds and are nobody's time-out.
            if self.exchange("1", "1", timeout=120.0) != "right":
                raise RuntimeError("Math-Verify does not start: see what `python -m data_prep.math_verify_worker` says")
        return self.exchange(gold, answer, self.timeout)

    def exchange(self, gold: str, answer: str, timeout: float) -> str:
        assert self.process
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps([gold, answer]) + "\n")
            self.process.stdin.flush()
            answered = bool(select.select([self.process.stdout], [], [], timeout)[0])
            line = self.process.stdout.readline().strip() if answered else ""
        except BrokenPipeError:
            answered, line = True, ""
        if not line:
            self.stop()
            return "died" if answered else "timed out"
        return line

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


class AnswerChecker:
    """Compares answers with golds; a context manager that owns `workers` Math-Verify processes, started when needed.

    `timeout`: seconds for one comparison in them. Results are kept by (gold, answer). May be used from any thread.
    `counts`: how comparisons were decided (`text`, `meaning`, `Math-Verify`, `cache`), and among them `timed out`,
    `unverifiable`, and `undecided`: answers that nobody could read, which count as wrong.
    """

    def __init__(self, timeout: float = 1.5, workers: int = 1):
        if workers < 1 or timeout <= 0:
            raise ValueError(f"workers {workers}, timeout {timeout}: at least one worker and a time above 0")
        self.counts: Counter[str] = Counter()
        self.cache: dict[tuple[str, str], Verdict] = {}
        self.all_workers = [Worker(timeout) for _ in range(workers)]
        self.free: SimpleQueue[Worker] = SimpleQueue()
        for worker in self.all_workers:
            self.free.put(worker)
        self.threads = ThreadPoolExecutor(workers, "answers")
        self.lock = threading.Lock()
        self.closed = False

    def __enter__(self) -> "AnswerChecker":
        return self

    def __exit__(self, *exception: object) -> None:
        self.closed = True
        self.threads.shutdown(cancel_futures=True)
        for worker in self.all_workers:
            worker.stop()

    def judge(
        self,
        gold: str,
        response: str,
        thought_open: bool = False,
        lenient: bool = False,
        choices: Sequence[str] | None = None,
    ) -> Judgement:
        """Extracts the answer of a response (see `find_answer`) and compares it with the gold."""
        extracted, rule = find_answer(response, thought_open, lenient)
        if extracted is None:
            return Judgement(None, "wrong" if gold.strip() else "unverifiable")
        return Judgement(extracted, self.compare(gold, extracted, choices), rule)

    def judge_all(
        self, golds: Sequence[str], responses: Sequence[str], thought_open: bool = False, lenient: bool = False
    ) -> list[Judgement]:
        """Like `judge`, for many; Math-Verify's workers run side by side. Raises ValueError if lengths differ."""
        found = [find_answer(response, thought_open, lenient) for response in responses]
        pairs = [(gold, extracted) for gold, (extracted, _) in zip(golds, found, strict=True) if extracted is not None]
        verdicts = iter(self.compare_all(pairs))
        return [
            Judgement(extracted, next(verdicts), rule)
            if extracted is not None
            else Judgement(None, "wrong" if gold.strip() else "unverifiable")
            for gold, (extracted, rule) in zip(golds, found, strict=True)
        ]

    def compare(self, gold: str, answer: str, choices: Sequence[str] | None = None) -> Verdict:
        """Compares two answers, the gold first.

        `choices`: texts of a multiple-choice problem, in the order of their letters. Letter, text and value of a choice
        are then accepted as one another, in the gold too.
        """
        if choices:
            right = choice_of(gold, choices)
            if right is not None:
                given = choice_of(answer, choices)
                if given is not None:
                    return "right" if given == right else "wrong"
                if len(answer) > MAX_ANSWER or LABEL.fullmatch(plain(answer)):
                    return "wrong"
                return self.compare(choices[right], answer)
        verdict = self.quickly(gold, answer)
        return verdict if verdict is not None else self.ask(gold, answer)

    def compare_all(self, pairs: Iterable[tuple[str, str]]) -> list[Verdict]:
        """Compares many (gold, answer); what needs Math-Verify runs while the rest is read."""
        if self.closed:
            raise RuntimeError("this AnswerChecker is closed: use it inside its `with` block")
        verdicts: list[Verdict | Future[Verdict]] = []
        asked: dict[tuple[str, str], Future[Verdict]] = {}
        for gold, answer in pairs:
            verdict = self.quickly(gold, answer)
            if verdict is None and (gold, answer) not in asked:
                asked[gold, answer] = self.threads.submit(self.ask, gold, answer)
            verdicts.append(verdict or asked[gold, answer])
        return [verdict.result() if isinstance(verdict, Future) else verdict for verdict in verdicts]

    def quickly(self, gold: str, answer: str) -> Verdict | None:
        """The verdict, where Math-Verify is not needed."""
        with self.lock:
            known = self.cache.get((gold, answer))
            if known is not None:
                self.counts["cache"] += 1
                return known
        verdict, how = decide(gold, answer)
        if verdict is not None:
            with self.lock:
                self.cache[gold, answer] = verdict
                self.counts[how] += 1
                self.counts["unverifiable"] += verdict == "unverifiable"
                self.counts["undecided"] += how == "unread"
        return verdict

    def ask(self, gold: str, answer: str) -> Verdict:
        """Math-Verify's verdict, in whichever process is free."""
        if self.closed:
            raise RuntimeError("this AnswerChecker is closed: use it inside its `with` block")
        worker = self.free.get()
        try:
            found = worker.ask(gold, answer)
            if found == "died":  # somebody has killed it, or it wanted too much memory: once more, in another one
                found = worker.ask(gold, answer)
        finally:
            self.free.put(worker)
        verdict: Verdict = {"unreadable": "wrong", "died": "timed out"}.get(found, found)  # type: ignore[assignment]
        with self.lock:
            if verdict != "timed out":  # which depends on what else the machine does
                self.cache[gold, answer] = verdict
            self.counts["Math-Verify"] += 1
            self.counts["undecided"] += found == "unreadable"
            if verdict in ("timed out", "unverifiable"):
                self.counts[verdict] += 1
        return verdict


def decide(gold: str, answer: str) -> tuple[Verdict | None, str]:
    """A verdict by text or by meaning, and by which; None where Math-Verify should be asked."""
    gold, answer = gold.strip(), answer.strip()
    if not gold:
        return "unverifiable", "text"
    if gold == answer:
        return "right", "text"
    if not answer or len(answer) > MAX_ANSWER or len(gold) > MAX_ANSWER:
        return "wrong", "text"
    verdict = same(gold, answer)
    if verdict is not None:
        return ("right" if verdict else "wrong"), "meaning"
    if not may_be_asked(gold):
        return ("wrong", "unread") if readings(gold) else ("unverifiable", "unread")
    return (None, "") if may_be_asked(answer) else ("wrong", "unread")


def may_be_asked(text: str) -> bool:
    """Whether Math-Verify can be trusted with it."""
    found = plain(text)
    return len(found) <= MAX_ASKED and bool(FOR_MATH_VERIFY.fullmatch(found)) and not NOT_FOR_MATH_VERIFY.search(found)
