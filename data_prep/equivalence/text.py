"""Answers as plain text, with one way of writing for each thing."""

import re
from functools import lru_cache

SIGNS = {
    "−": "-", "–": "-", "—": "-", "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "∙": "\\cdot ", "÷": "/", "∗": "*",
    "≤": "\\leq ", "≥": "\\geq ", "⩽": "\\leq ", "⩾": "\\geq ", "≠": "\\neq ", "≈": "\\approx ", "∞": "\\infty ",
    "∪": "\\cup ", "∈": "\\in ", "±": "\\pm ", "∓": "\\mp ", "√": "\\sqrt ", "π": "\\pi ", "°": "^\\circ ",
    "ℝ": "\\mathbb{R}", "½": "\\frac{1}{2}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}",
    "⅓": "\\frac{1}{3}", "⅔": "\\frac{2}{3}", "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "λ": "\\lambda ",
    "μ": "\\mu ", "ω": "\\omega ", "φ": "\\phi ", "′": "'", "’": "'", "\u00a0": " ", "\u2009": " ", "，": ",",
    "（": "(", "）": ")", "：": ":", "；": ";", "－": "-", "＋": "+", "＝": "=",
}  # fmt: skip
SIGN = re.compile("|".join(map(re.escape, SIGNS)))
RAISED, LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "₀₁₂₃₄₅₆₇₈₉"
SCRIPTS = str.maketrans(RAISED + LOWERED, "0123456789-+n0123456789")
REPLACED = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), "\\frac"), **dict.fromkeys(("dbinom", "tbinom"), "\\binom"),
    **dict.fromkeys(("le", "leqslant", "leqq", "lesssim"), "\\leq "),
    **dict.fromkeys(("ge", "geqslant", "geqq", "geslant"), "\\geq "),
    **dict.fromkeys(("left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr",
                     "displaystyle", "textstyle", "limits", "nolimits", "mathrm", "rm", "bf", "it"), ""),
    **dict.fromkeys(("quad", "qquad", "enspace", "thinspace", "space"), " "),
    **dict.fromkeys(("lvert", "rvert", "vert", "mid"), "|"),
    "ne": "\\neq ", "lt": "<", "gt": ">", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]",
    "langle": "(", "rangle": ")", "varnothing": "\\emptyset", "ast": "*", "colon": ":", "degree": "^\\circ ",
    "deg": "^\\circ ", "percent": "%", "euro": "", "pounds": "", "arg": "\\arg", "Re": "\\Re", "Im": "\\Im",
}  # fmt: skip
TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|textsf|texttt|mbox|hbox|operatorname|mathrm|mathsf|bold|boldsymbol|emph"
    r"|underline|boxed|fbox|bm)\s*\*?\s*\{"
)
# dx/dt and d^2x/dt^2, of x or x(t)
DERIVATIVE = re.compile(
    r"\\frac\s*\{\s*d\s*(\^\s*\{?2\}?)?\s*((?:\\[a-z]+|[a-zA-Z])(?:_\{?\w\}?)?)\s*(?:\(t\))?\s*\}\s*\{\s*dt\s*(?:\^\s*\{?2\}?)?\s*\}"
)
COMMAND = re.compile(r"\\([a-zA-Z]+)\*?")
SPACING = re.compile(r"\\[,;:! >]|~|\\hspace\s*\{[^{}]*\}|\\[hv]?phantom\s*\{[^{}]*\}")
OPEN_TEXT, CLOSE_TEXT, NEW_ROW, DOLLAR = "⟨", "⟩", "¶", "§"
OWN_SIGNS = str.maketrans({OPEN_TEXT: "\\langle ", CLOSE_TEXT: "\\rangle ", NEW_ROW: " ", DOLLAR: " "})
EDGES = " \t\r\n$,;:*"


def trimmed(text: str) -> str:
    """Without punctuation around it; a point before it belongs to a number, and "..." means that something follows."""
    text = text.lstrip(EDGES).rstrip(EDGES)
    return text if text.endswith("..") else text.rstrip(EDGES + ".")


def closing_brace(text: str, start: int) -> int:
    """Index of the brace that closes the one before `start`, or -1."""
    depth = 1
    for i in range(start, len(text)):
        if text[i] in "{}" and (i == 0 or text[i - 1] != "\\"):
            depth += 1 if text[i] == "{" else -1
            if not depth:
                return i
    return -1


def mark_text(text: str) -> str:
    """`\\text{...}` becomes ⟨...⟩; boxes and bold mathematics lose their command."""
    position = 0
    for _ in range(200):
        match = TEXT.search(text, position)
        if not match:
            return text
        end = closing_brace(text, match.end())
        if end < 0:
            return text[: match.start()] + " " + text[match.end() :]
        inner = text[match.end() : end]
        if any(name in match[0] for name in ("box", "bm", "bold", "underline")) and "mbox" not in match[0]:
            text = f"{text[: match.start()]}{{{inner}}}{text[end + 1 :]}"
            position = match.start()
        else:
            inner = inner.replace(OPEN_TEXT, "").replace(CLOSE_TEXT, "")
            text = f"{text[: match.start()]}{OPEN_TEXT}{inner}{CLOSE_TEXT}{text[end + 1 :]}"
            position = match.start() + 1
    return text


@lru_cache(maxsize=20_000)
def plain(text: str) -> str:
    """The text with one way of writing for each thing; for comparing and for reading."""
    text = text.translate(OWN_SIGNS)
    text = re.sub(r"\\mathbf\s*\{\s*(-?[\d.,]+)\s*\}", r"\1", text)
    text = re.sub(r"(?:√|(?<![\\a-z])sqrt)\s*(\d+(?:\.\d+)?)", r"\\sqrt{\1}", text)
    text = re.sub(r"\\\$\s*(?=[\d.])", DOLLAR, text)
    text = SIGN.sub(lambda match: SIGNS[match[0]], text)
    text = re.sub(f"[{RAISED}]+", lambda match: f"^{{{match[0].translate(SCRIPTS)}}}", text)
    text = re.sub(f"[{LOWERED}]+", lambda match: f"_{{{match[0].translate(SCRIPTS)}}}", text)
    if "\\begin" in text:
        text = text.replace("\\\\", NEW_ROW)
    else:  # doubled backslashes of a JSON string, or a new line
        text = re.sub(r"\\\\(?=[a-zA-Z{}%$!,;:])", r"\\", text).replace("\\\\", ", ")
    text = re.sub(r"(?<=\d)\{?,\}?\\[!,]\s*(?=\d{3}(?!\d))|(?<=\d)\{,\}(?=\d{3}(?!\d))", "", text)
    text = mark_text(text)
    text = SPACING.sub(" ", text)
    text = text.replace("\\(", " ").replace("\\)", " ").replace("\\[", " ").replace("\\]", " ")
    text = text.replace("\\$", "").replace("\\%", "%").replace("$", " ").replace("£", "").replace("€", "")
    text = COMMAND.sub(lambda match: REPLACED.get(match[1], match[0]), text)
    text = re.sub(r"\^\s*\{\s*\\circ\s*\}", r"^\\circ ", text)
    if "dt" in text:
        text = DERIVATIVE.sub(lambda match: f"\\{'d' if match[1] else ''}dot{{{match[2]}}}", text)
    return bare(re.sub(r"\s+", " ", text))


def bare(text: str) -> str:
    """Without punctuation and braces around everything."""
    text = trimmed(text)
    while text.startswith("{") and closing_brace(text, 1) == len(text) - 1:
        text = trimmed(text[1:-1])
    return text


def letters_of(text: str) -> str:
    """Letters and digits in lower case: what is left of words when punctuation does not count."""
    return "".join(c for c in text.casefold() if c.isalnum())
