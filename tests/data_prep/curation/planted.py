"""Problems with planted copies, for tests of duplicates and contamination: real ones where there are, else made up."""

import re
from random import Random

NAMES = "Ann Ben Cleo Dan Eva Finn Gus Hana Ivo Jana Kai Lena Mia Noah Olga Paul Quinn Rosa Sven Tara".split()
THINGS = "apples marbles coins stamps books shells cards pens tickets plants stones bricks".split()
PLACES = "market school garden library harbour station village museum workshop bakery".split()
OPENINGS = (
    "{a} carries {x} {t} to the {p} and gives {y} of them to {b}.",
    "At the {p}, {a} counts {x} {t}, {y} more than {b} has.",
    "In a {p} there are {x} boxes with {y} {t} each, and {a} empties them together with {b}.",
    "Every day {a} sells {x} {t} at the {p}, while {b} sells only {y}.",
)
MIDDLES = (
    "After {z} days the owner of the {p} doubles the price of {t}.",
    "A third of the {t} is broken on the way, and {b} repairs {z} of them.",
    "Then {z} friends arrive who bring {t} of their own and share them equally.",
    "Because of rain, {b} stays {z} hours longer and finds {t} under a bench.",
)
QUESTIONS = (
    "How many {t} does {a} have in the end?",
    "What is the least number of {t} that {b} can own?",
    "Find the ratio of the {t} of {a} to those of {b}.",
    "By how much do the two differ, if ${x}k^{{2}} - {y}k + {z} = 0$ for $k$ baskets?",
)


def make(n: int, seed: int = 0) -> list[str]:
    """Problems of which no two are alike but for chance."""
    rng = Random(seed)
    problems: dict[str, None] = {}
    while len(problems) < n:
        a, b = rng.sample(NAMES, 2)
        words = {"a": a, "b": b, "t": rng.choice(THINGS), "p": rng.choice(PLACES)}
        words |= {name: str(rng.randrange(2, 900)) for name in "xyz"}
        parts = [rng.choice(OPENINGS), *rng.sample(MIDDLES, 2), rng.choice(QUESTIONS)]
        problems[" ".join(parts).format(**words)] = None
    return list(problems)


def respaced(problem: str, rng: Random) -> str:
    """The same with other white space, case, and typesetting."""
    text = re.sub(r" ", lambda _: rng.choice([" ", "  ", "\n"]), problem)
    text = text.replace("$", rng.choice(["$", "$ ", "$$"])).replace("{2}", rng.choice(["2", "{ 2 }", "{2}"]))
    return text.upper() if rng.random() < 0.1 and "\\" not in text else text


def reworded(problem: str, rng: Random) -> str:
    """The same with one or two small edits of words; numbers and formulas stay."""
    words = problem.split(" ")
    plain = [i for i, word in enumerate(words) if re.fullmatch(r"[a-z]{2,}[,.]?", word)]
    for i in sorted(rng.sample(plain, min(rng.choice([1, 2]), len(plain))), reverse=True):
        edit = rng.choice(["drop", "typo", "add"])
        if edit == "drop" and len(words[i]) <= 4:
            del words[i]
        elif edit == "add":
            words.insert(i, rng.choice(["then", "now", "also", "exactly"]))
        else:
            words[i] = words[i][:-1] + words[i][-1] * 2
    return " ".join(words)


def renumbered(problem: str, rng: Random) -> str:
    """The same words with other numbers."""
    changed = re.sub(r"\d+", lambda number: str(int(number[0]) + rng.randrange(1, 9)), problem)
    assert changed != problem or not re.search(r"\d", problem)
    return changed
