"""Problem texts in the form in which they are compared: what typesetting and typing change is taken away.

"Find $ x^{2} $ if  \\left(x\\right)=3."  and  "find $x^2$ if (x) = 3"  are both  "find x ^ 2 if ( x ) = 3"
"""

import re
import unicodedata

# Typesetting that means nothing: spaces, sizes, delimiters of formulas.
SPACING = re.compile(
    r"\\(?:[,;:!> ]|quad|qquad|left|right|big|Big|bigg|Bigg|displaystyle|textstyle|limits|nolimits|hspace\*?\{[^{}]*\}|"
    r"vspace\*?\{[^{}]*\}|phantom\{[^{}]*\}|noindent|newline|\\|\(|\)|\[|\])(?![a-zA-Z])|~|\$|&nbsp;"
)
TEXT_COMMANDS = re.compile(r"\\(?:text|textbf|textit|textrm|emph|mathrm|mathit|mathbf|mbox|operatorname)\s*\*?\s*\{")
SAME_COMMANDS = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "leq": "le", "geq": "ge", "neq": "ne", "leqslant": "le",
    "geqslant": "ge", "ldots": "dots", "cdots": "dots", "dotsc": "dots", "dotsb": "dots", "varphi": "phi",
    "rightarrow": "to", "degree": "circ", "ast": "cdot", "times": "cdot",
}  # fmt: skip
SYMBOLS = str.maketrans({
    "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "×": r"\cdot ", "·": r"\cdot ", "π": r"\pi ", "∞": r"\infty ",
    "°": r"^\circ ", "…": r"\dots ", "−": "-", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"',
})  # fmt: skip
ASY = re.compile(r"\[asy\](.*?)(?:\[/asy\]|\Z)", re.IGNORECASE | re.DOTALL)
# A Chinese or Japanese character is a word; a command, a number, a run of letters, any other sign.
TOKEN = re.compile(r"\\[a-z]+|[㐀-鿿぀-ヿ]|[^\W\d_㐀-鿿぀-ヿ]+|\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|[^\s\w]|_")
# Punctuation and grouping, which copies of a problem differ in.
UNSAID = frozenset(".,;:?'\"{}`*#\\")
NUMBER_WORDS = {
    word: str(i) for i, word in enumerate("two three four five six seven eight nine ten eleven twelve".split(), start=2)
}  # not "one", which is a pronoun more often
SAME = NUMBER_WORDS | {f"\\{a}": f"\\{b}" for a, b in SAME_COMMANDS.items()}


def tokens(problem: str) -> list[str]:
    """Words, commands, numbers and signs of a problem, without drawings, typesetting, punctuation and braces."""
    text = ASY.sub(" ", problem) if "[asy]" in problem.lower() else problem
    text = unicodedata.normalize("NFKC", text.translate(SYMBOLS))
    text = SPACING.sub(" ", TEXT_COMMANDS.sub(" {", text)) if "\\" in text or "$" in text or "~" in text else text
    return [
        token.replace(",", "") if token[0].isdigit() else SAME.get(token, token)
        for token in TOKEN.findall(text.casefold())
        if token not in UNSAID
    ]


def drawing(problem: str) -> str:
    """The code of the problem's asy figures, without white space; empty if there are none."""
    return "".join("".join(ASY.findall(problem)).split()) if "[asy]" in problem.lower() else ""


def masked(found: list[str]) -> str:
    """The tokens as one text with every number as "0": what problems have in common that differ in numbers alone."""
    return " ".join(["0" if token[0].isdigit() else token for token in found])


def numbers(found: list[str]) -> str:
    """The numbers among the tokens, in their order: problems with others are other problems."""
    return " ".join([token for token in found if token[0].isdigit()])
