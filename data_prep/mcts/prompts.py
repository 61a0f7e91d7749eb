"""What the policy continues: a chat turn, rStar-Math's SFT prompt, or a bootstrap prompt with examples."""

from collections.abc import Mapping
from random import Random
from typing import Any, Literal

from data_prep.benchmarks import with_choices

PromptStyle = Literal["chat", "rstar", "bootstrap"]

# The form of rStar-Math's fine-tuning prompt (train/sft_prompt.json of the official code), so that its policies and
# data can be used.
RSTAR = "<|user|>:\n{problem}\n<|assistant|>: Let's think step by step and solve the problem with code."

INSTRUCTION = """\
Solve a math problem by writing Python that is run. Keep exactly to this form:

1. Begin with <code>. Write the program in small steps. Each step starts with comments that say what you do and why,
then a few lines of Python, and ends with <end_of_step>. Variables of earlier steps are known in later ones. You may
import math, numpy, scipy and sympy.
2. The last step prints the result with print(...) and ends with <end_of_code>.
3. You are then shown what was printed, between <output> and <end_of_output>.
4. Write <answer>, one sentence with the final answer as \\boxed{...}, and <end_of_answer>. Write nothing after it."""

# Problem, solution. Of our own making.
EXAMPLES = (
    (
        "A baker fills 7 trays with 12 rolls each. He sells three quarters of the rolls before noon and gives 5 of the "
        "others away. How many rolls are left?",
        """<code>
# All rolls: 7 trays with 12 rolls each
rolls = 7 * 12
<end_of_step>
# Three quarters are sold before noon, the others are left
sold = rolls * 3 // 4
left = rolls - sold
<end_of_step>
# 5 of them are given away. Now print the final answer
left_over = left - 5
print(left_over)
<end_of_code>
<output>16<end_of_output>
<answer>There are \\boxed{16} rolls left.<end_of_answer>""",
    ),
    (
        "For which positive number $x$ is $x^2 - 5x = 6$?",
        """<code>
from sympy import symbols, solve

# Bring everything to one side and solve the quadratic equation
x = symbols("x")
roots = solve(x**2 - 5 * x - 6, x)
<end_of_step>
# Keep the positive root
positive = [root for root in roots if root > 0]
<end_of_step>
# Now print the final answer
print(positive[0])
<end_of_code>
<output>6<end_of_output>
<answer>The positive solution is \\boxed{6}.<end_of_answer>""",
    ),
    (
        "Two fair dice are rolled. What is the probability that the sum is at least 10, as a common fraction?",
        """<code>
from fractions import Fraction

# Count the outcomes whose sum is at least 10
rolls = [(a, b) for a in range(1, 7) for b in range(1, 7)]
good = [roll for roll in rolls if sum(roll) >= 10]
<end_of_step>
# The probability is the share of these outcomes. Now print the final answer
print(Fraction(len(good), len(rolls)))
<end_of_code>
<output>1/6<end_of_output>
<answer>The probability is \\boxed{\\frac{1}{6}}.<end_of_answer>""",
    ),
)
N_EXAMPLES = 2  # in a bootstrap prompt, drawn at random for each tree, as in the official code


def search_prompt(style: PromptStyle, tokenizer: Any, problem: Mapping[str, Any], instruction: str, rng: Random) -> str:
    """The text that the policy continues with its first step.

    `instruction`: follows the problem in a chat turn. A bootstrap prompt is plain text for every model, as in the
    official code: in a chat turn, instruct models fall back into their own form of an answer.
    """
    text = with_choices(problem)
    if style == "rstar":
        return RSTAR.format(problem=text)
    if style == "bootstrap":
        shown = [f"Question: {asked}\n{solution}" for asked, solution in rng.sample(EXAMPLES, N_EXAMPLES)]
        return "\n\n".join([INSTRUCTION, *shown, f"Question: {text}\n"])
    messages = [{"role": "user", "content": f"{text}\n{instruction}".strip()}]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
