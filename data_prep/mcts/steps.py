"""What a step is: rStar-Math's code-augmented steps, and plain text with or without a thought.

A code-augmented solution (paper section 3.2; markers as in the official code's constants.py) is Python whose comments
reason, step by step, then what it prints, then the answer:

    <code>
    # Apples of Ann
    ann = 14
    <end_of_step>
    # Now print the final answer
    print(ann + 5)
    <end_of_code>
    <output>19<end_of_output>
    <answer>Bob has \\boxed{19} apples.<end_of_answer>

The policy writes up to a stop string, the output is ours. Nothing here raises on any text that a model has written.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from data_prep.answers import find_answer, last_boxed
from data_prep.formats import END_THINK, THINK, is_unclosed
from data_prep.responses import whole_characters

CODE, END_OF_STEP, END_OF_CODE = "<code>", "<end_of_step>", "<end_of_code>"
OUTPUT, END_OF_OUTPUT = "<output>", "<end_of_output>"
ANSWER, END_OF_ANSWER = "<answer>", "<end_of_answer>"
MARKERS = (CODE, END_OF_STEP, END_OF_CODE, OUTPUT, END_OF_OUTPUT, ANSWER, END_OF_ANSWER)
# What a policy may write where its turn ends, if its tokenizer does not take it for a special token.
TURN_ENDS = re.compile(r"(?:<\|(?:im_end|endoftext|eot_id|end|user|assistant)\|>|</s>|<｜end▁of▁sentence｜>)\s*$")
CLOSED = re.compile(f"{END_OF_OUTPUT}|{END_OF_CODE}")
FENCE = re.compile(r"^\s*`{3,}[ \t]*(?:python3?|py)?[ \t]*$", re.MULTILINE)
STEP_PARTS = re.compile(f"(?<={END_OF_STEP})|(?<={END_OF_CODE})|(?<={END_OF_OUTPUT})")
LONGEST_OUTPUT = 1024  # characters; of a longer one the two halves at its ends are kept

Steps = Literal["code", "text"]


@dataclass(frozen=True)
class Step:
    """What the policy has written at once. `text` ends with its marker.

    `ends`: the turn is over or an answer is given, nothing follows. `extracted`: that answer, None where there is none.
    `program`: what is to be run for this step, all code since the last output; None if there is nothing to run.
    `shows_output`: what the program prints is shown to the policy.
    """

    text: str
    ends: bool
    extracted: str | None = None
    program: str | None = None
    shows_output: bool = False


def stop_strings(steps: Steps) -> tuple[str, ...]:
    """Where the policy is stopped. It never writes the output of its own code: that begins after `<end_of_code>`."""
    return (END_OF_STEP, END_OF_CODE, END_OF_OUTPUT, END_OF_ANSWER) if steps == "code" else ("\n\n",)


def read_step(steps: Steps, before: str, written: str) -> Step:
    """The step that `written` is after the text `before` (of the same solution).

    `written` holds its stop string at the end, if it was stopped by one.
    """
    text = TURN_ENDS.sub("", whole_characters(written))
    return read_code(before, text) if steps == "code" else read_text(before, text)


def read_code(before: str, text: str) -> Step:
    if OUTPUT in text and CODE not in before[before.rfind(END_OF_OUTPUT) + 1 :] + text[: text.index(OUTPUT)]:
        pass  # an output without any code: nothing that could be run
    elif OUTPUT in text:  # the policy goes on to what its program prints: the program ends there
        text = text[: text.index(OUTPUT)].rstrip() + "\n" + END_OF_CODE
    whole = before + text
    if END_OF_ANSWER in text:
        return Step(text, True, last_boxed(text))
    if not text.endswith((END_OF_STEP, END_OF_CODE)):  # the turn is over; a box inside of a program is no answer
        outside = CLOSED.split(whole)[-1]
        return Step(text, True, None if CODE in outside else last_boxed(text))
    return Step(text, False, program=program_of(whole), shows_output=text.endswith(END_OF_CODE))


def program_of(solution: str) -> str:
    """All code since the last output that was shown, or the last code that was closed before this step.

    What stands before its first `<code>` is talk.
    """
    body = solution.removesuffix(END_OF_CODE).removesuffix(END_OF_STEP)
    body = CLOSED.split(body)[-1]
    body = body[body.index(CODE) :] if CODE in body else body
    for marker in (CODE, END_OF_STEP):
        body = body.replace(marker, "\n" if marker == END_OF_STEP else "")
    return FENCE.sub("", body).strip("\n`")


def read_text(before: str, text: str) -> Step:
    """A paragraph. A text that goes on after its thought is closed is one step, up to the end of the turn."""
    whole = before + text
    ended = not text.endswith("\n\n")
    extracted = find_answer(whole)[0] if ended or (not is_unclosed(whole) and "\\boxed" in text) else None
    return Step(text, ended or extracted is not None, extracted)


def shown(output: str) -> str:
    """What the policy sees of a program's output: numbers with 4 decimals where that is shorter, long texts cut.

    Numbers of which nothing would be left stay as they are. Markers are taken out: they are not a program's to write.
    """
    text = output.strip()
    for marker in MARKERS:
        text = text.replace(marker, "")
    try:
        rounded = f"{float(text):.4f}".rstrip("0").rstrip(".")
        if len(rounded) < len(text) and "." in text and "e" not in text.lower() and float(rounded):
            text = rounded
    except ValueError:
        pass
    half = LONGEST_OUTPUT // 2
    return text if len(text) <= LONGEST_OUTPUT else f"{text[:half]}...{text[-half:]}"


def output_block(output: str, after: str) -> str:
    """The output as it stands after the step `after`, which is closed first if it is not."""
    close = "" if after.endswith(END_OF_CODE) else END_OF_CODE
    return f"{close}\n{OUTPUT}{output}{END_OF_OUTPUT}"


def segments(solution: str) -> list[str]:
    """A code-augmented solution cut behind its step ends; joined they are the solution again."""
    return [part for part in STEP_PARTS.split(solution) if part]


# ------------------------------------------------------------------------------------------------- steps of a thought

LEAST, MOST = 64, 512  # tokens of a step
# What is said where something written before is taken back, or doubted.
CORRECTS = re.compile(
    r"\b(?:wait|hmm+|hold on|scratch that|i made an? (?:mistake|error)|(?:that|this)(?: is|'s| was|) "
    r"(?:not right|wrong|incorrect)|let me (?:re-?(?:check|do|compute|calculate|consider)|try again|correct))\b",
    re.I,
)
# A self-check begins a step of its own.
CHECKS = re.compile(
    r"(?:but )?(?:wait|hmm|hold on|alternatively|let me (?:re-?check|double.check|verify)|actually)\b", re.I
)


def corrects_itself(response: str) -> bool:
    """Whether the thought of a response takes something back, or doubts it, in words that are used for that."""
    return CORRECTS.search(response.partition(END_THINK)[0]) is not None


def thought_steps(response: str, n_tokens: Callable[[str], int], least: int = LEAST, most: int = MOST) -> list[str]:
    """A Long-CoT response cut into steps; joined they are the response again.

    The thought is cut at blank lines; paragraphs are put together until they have `least` tokens, and split at line
    ends, sentence ends or words where they have more than `most`. A self-check ("wait, ...") begins a new step, however
    short the one before it is. What follows the thought is one step. `n_tokens`: the length of a text.
    """
    thought, end, answer = response.partition(END_THINK)
    steps: list[str] = []
    current, size = "", 0
    for paragraph in re.findall(r"(?s).+?(?:\n\s*\n|\Z)", thought):
        for piece in split_long(paragraph, n_tokens, most):
            n = n_tokens(piece)
            checks = CHECKS.match(piece.lstrip()) is not None and current.strip() not in ("", THINK)
            if current.strip() and piece.strip() and (size >= least or size + n > most or checks):
                steps.append(current)
                current, size = "", 0
            current, size = current + piece, size + n
    if current.strip() or not end:
        steps.append(current)
        current = ""
    steps.append(current + end + answer)
    return [step for step in steps if step]


def split_long(text: str, n_tokens: Callable[[str], int], most: int) -> list[str]:
    """Pieces of at most `most` tokens where that is possible: of lines, else sentences, words, at last characters."""
    if n_tokens(text) <= most:
        return [text]
    for separator in (r"(?<=\n)", r"(?<=[.!?]\s)", r"(?<=\s)(?=\S)"):
        parts = [part for part in re.split(separator, text) if part]
        if len(parts) > 1:
            break
    else:
        half = len(text) // 2
        parts = [text[:half], text[half:]] if half else [text]
        if len(parts) == 1:
            return parts
    pieces: list[str] = []
    size = 0
    for part in parts:
        for piece in split_long(part, n_tokens, most):
            n = n_tokens(piece)
            if pieces and size + n <= most:
                pieces[-1] += piece
                size += n
            else:
                pieces.append(piece)
                size = n
    return pieces
