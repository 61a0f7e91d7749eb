"""What is wrong with a response by its text alone: it ends in a loop, or it changes the language.

Plain functions of one response, fast enough for a million of them: the work is done by `rfind`, `translate` and
comparisons of slices, never character by character in Python.
"""

import re
from dataclasses import dataclass
from typing import AnyStr, Literal

# Equal repetitions, and the beginning of one more: a text is quoted once, but not begun three times. Models that think
# for 100,000 characters go round in circles of 10,000.
REPETITIONS, LENGTH, LONGEST_UNIT = 2, 300, 20_000
BEGUN = 500  # characters of the last repetition, or half of a shorter unit
# Without a letter it may be a power of ten, a rule or an empty table. These are short.
LENGTH_WITHOUT_LETTERS = 500

# Repetitions that differ in digits: longer ones and more, since a patient search of cases looks the same for a while.
COUNTING_REPETITIONS, COUNTING_LENGTH, LONGEST_COUNTING_UNIT = 5, 1_000, 1_500
COUNTING_LETTERS = 5  # in a unit: lists of numbers have none, sums of fractions have "frac"

# Lines that begin alike, with one beginning or two of them in turns.
LINES, BEGINNINGS, LINES_OF_EACH = 16, 2, 5
BEGINNING, BEGINNING_LETTERS = 24, 10  # bytes without digits

TAIL = 8_000  # characters of the end in which the last two are looked for
KEY, LONGEST_KEY = 30, 1_000  # characters of the end that are looked for before it
TRIES = 24  # places where they are found

DIGITS = b"0123456789"
ASCII = bytes(range(128))
LETTER = re.compile(r"[^\W\d_]")

# Letters alone: signs of these blocks (the Arabic comma, the Thai currency) do not make a language.
SCRIPTS = {
    name: re.compile(f"[{letters}]+")
    for name, letters in {
        "CJK": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
        "Cyrillic": "\u0400-\u0481\u048a-\u052f",
        "Arabic": "\u0620-\u064a\u066e-\u06d3\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc",
        "Hangul": "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3",
        "Devanagari": "\u0904-\u0939\u093e-\u094c\u0958-\u0961",
        "Thai": "\u0e01-\u0e3a\u0e40-\u0e4e",
        "Hebrew": "\u05d0-\u05ea",
        "kana": "\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d",
    }.items()
}


@dataclass(frozen=True)
class Loop:
    """A loop at the end of a response.

    `start`: index of its first character (of a `varies` loop, within the last 8,000). `unit`: the last repetition that
    is whole. `times`: the number of repetitions, with the fraction of the last one. `kind`: `repeats` where all of them
    are equal, `counts` where they differ in digits, `varies` where no more than the beginnings of the lines are equal.
    """

    start: int
    unit: str
    times: float
    kind: Literal["repeats", "counts", "varies"]


def ends_in_loop(response: str, after: int = 0) -> Loop | None:
    """The loop that the response ends in, or None. The last repetition may be cut.

    `after`: how many characters may follow a loop whose repetitions are equal, as when a model puts some answer into a
    box to get out of one.
    """
    return repeats(response, after) or counts(response) or varies(response)


def repeats(response: str, after: int = 0) -> Loop | None:
    """The loop of equal repetitions at the end of the response, or not more than `after` characters before its end."""
    if len(response) < LENGTH:
        return None
    for text in (response, response[:-after]) if after else (response,):
        found = period(text, LONGEST_UNIT, REPETITIONS, LENGTH)
        if found and not LETTER.search(text, len(text) - found[0]):
            found = period(text, LONGEST_UNIT, REPETITIONS, LENGTH_WITHOUT_LETTERS)
        if found:
            length, total = found
            return Loop(len(text) - total, text[-length:], total / length, "repeats")
    return None


def counts(response: str) -> Loop | None:
    """The loop at the end of the response whose repetitions differ in digits alone: "case 7: no. case 8: no. ..."."""
    if len(response) < COUNTING_LENGTH:
        return None
    found = period(without_digits(response[-TAIL:]), LONGEST_COUNTING_UNIT, COUNTING_REPETITIONS, COUNTING_LENGTH)
    if not found:
        return None
    length = found[0]
    unit = response[from_end(response, length) :]
    if len(LETTER.findall(unit)) < COUNTING_LETTERS:
        return None
    total = extent(without_digits(response), length) + length  # it may begin before the tail
    return Loop(from_end(response, total), unit, total / length, "counts")


def varies(response: str) -> Loop | None:
    """The loop at the end of the response whose lines begin alike: "Or maybe in music. Or maybe in art. ..."."""
    lines = response[-TAIL:].split("\n")
    whole = [line for line in lines[1:-1] if line and not line.isspace()]  # the outer two may be cut
    last = [beginning(line) for line in whole[-LINES:]]
    if len(last) < LINES or sum(map(len, whole[-LINES:])) < COUNTING_LENGTH:
        return None
    alike = set(last)
    if len(alike) > BEGINNINGS or min(last.count(each) for each in alike) < LINES_OF_EACH:
        return None
    if any(len(LETTER.findall(each.decode(errors="ignore"))) < BEGINNING_LETTERS for each in alike):
        return None
    times, start, position = 0, 0, len(response) - len(lines[-1])
    for line in reversed(lines[1:-1]):
        position -= len(line) + 1
        if line and not line.isspace():
            if beginning(line) not in alike:
                break
            times, start = times + 1, position
    return Loop(start, whole[-1], float(times), "varies")


def period(text: AnyStr, longest: int, repetitions: int, length: int) -> tuple[int, int] | None:
    """Length of the unit that the text ends in repetitions of, and of all of them together; None if it does not.

    `longest` unit, least number of whole `repetitions`, least `length` of all together. The shortest unit is found. The
    last characters of the text are looked for before it: each place is a candidate, and where one fails, more of the
    text's end has to be found at the next.
    """
    size, distance, key = len(text), 0, min(KEY, len(text))
    for _ in range(TRIES):
        start = size - key
        found = text.rfind(text[start:], max(0, start - longest), size - distance - 1)
        if found < 0:
            return None
        distance = start - found
        same = extent(text, distance)
        total = same + distance
        if total >= length and total >= repetitions * distance + min(distance // 2, BEGUN):
            return distance, total
        key = max(key, min(same + 1, LONGEST_KEY))
    return None


def extent(text: AnyStr, distance: int) -> int:
    """How many characters at the end of the text equal those `distance` before them."""
    size = len(text)
    same, step = 0, 64  # known to be equal, and how many more are compared
    while True:
        more = min(same + step, size - distance)
        if text[size - more : size - same] != text[size - more - distance : size - same - distance]:
            break
        same = more
        if same == size - distance:
            return same
        step *= 2
    while more - same > 1:
        middle = (same + more) // 2
        if text[size - middle : size - same] == text[size - middle - distance : size - same - distance]:
            same = middle
        else:
            more = middle
    return same


def encoded(text: str) -> bytes:
    """UTF-8, of which C deletes characters ten times faster than of a str."""
    return text.encode("utf-8", "surrogatepass")


def without_digits(text: str) -> bytes:
    return encoded(text).translate(None, DIGITS)


def beginning(line: str) -> bytes:
    return without_digits(line.lstrip()[: 2 * BEGINNING])[:BEGINNING]


def from_end(text: str, length: int) -> int:
    """Index of the character from which on the text has no more than `length` bytes that are no digits."""
    data = encoded(text)
    low, high = 0, len(data)
    while low < high:
        middle = (low + high) // 2
        if len(data[middle:].translate(None, DIGITS)) > length:
            low = middle + 1
        else:
            high = middle
    while low < len(data) and data[low] & 0xC0 == 0x80:  # in the middle of a character
        low += 1
    return len(data[:low].decode("utf-8", "surrogatepass"))


def foreign_script(problem: str, response: str, max_letters: int) -> str | None:
    """The script of which the response holds more than `max_letters` letters and the problem none, or None.

    CJK, Cyrillic, Arabic, Hangul, Devanagari, Thai, Hebrew or kana; the first in this order. Latin and Greek letters
    are at home in every text.
    """
    if response.isascii():
        return None
    others = encoded(response).translate(None, ASCII).decode("utf-8", "surrogatepass")
    if len(others) <= max_letters:
        return None
    different = "".join(set(others))
    for name, letters in SCRIPTS.items():
        mixed = letters.search(different) and not letters.search(problem)
        if mixed and sum(map(len, letters.findall(others))) > max_letters:
            return name
    return None
