"""Responses to geometry problems: Long-CoT thoughts that first read the figure, and short answers.

<think>
Triangle ABC. D on line BC. Angle ABD = 48. Angle BAD = 51. Angle ACD = 37. Angle CAD = x.

Triangle ABD: 48+51=99. 180-99=81. Check: 81+99=180. Right. ADB = 81.

Line BDC: 180-81=109. Check: 109+81=190. Wait, not 180. Again: 180-81=99. Check: 99+81=180. Right. ADC = 99.

Triangle ADC: 99+37=136. 180-136=44. CAD = 44.
</think>

The answer is \\boxed{44}.
"""

import re
from random import Random

from data_prep.small_world.traces import slip
from multimodal.problems import GeometryProblem

INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}
EQUATION = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")


def short_answer(problem: GeometryProblem) -> str:
    return f"The answer is \\boxed{{{problem.answer}}}."


def check(equation: str) -> str | None:
    """The inverse computation, e.g. `81+99=180`; None where it does not come out even."""
    found = EQUATION.fullmatch(equation)
    assert found, equation
    _, sign, right, result = found.groups()
    inverse, a, b = INVERSE[sign], int(result), int(right)
    if inverse == "/" and a % b:
        return None
    back = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[inverse]
    return f"{a}{inverse}{b}={back}" if back >= 0 else None


def long_cot(problem: GeometryProblem, rng: Random, *, check_rate: float = 0.3, slip_rate: float = 0.03) -> str:
    """`check_rate`: share of computations that are checked. `slip_rate`: chance that the first result of one is a slip,
    which its check uncovers and the thought corrects.
    """
    paragraphs = [problem.description]
    for step in problem.steps:
        parts = []
        for equation in step.equations:
            left, result = equation.split("=")
            confirmed = check(equation)
            wrong = f"{left}={slip(int(result), rng)}" if confirmed and rng.random() < slip_rate else None
            found = check(wrong) if wrong else None
            if wrong and found:
                number = re.split(r"[-+*/]", left)[0]
                parts.append(
                    f"{wrong}. Check: {found}. Wait, not {number}. Again: {equation}. Check: {confirmed}. Right."
                )
            elif confirmed and rng.random() < check_rate:
                parts.append(f"{equation}. Check: {confirmed}. Right.")
            else:
                parts.append(f"{equation}.")
        paragraphs.append(" ".join([f"{step.reason}:", *parts, f"{step.name} = {step.value}."]))
    thought = "\n\n".join(paragraphs)
    return f"<think>\n{thought}\n</think>\n\n{short_answer(problem)}"
