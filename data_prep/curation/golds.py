"""Golds that no checker can judge: proofs, "not found", several parts. Such a row is not wrong, it can't be told."""

import re

MISSING = re.compile(r"(?:n/?a|none|null|nan|not\s*found|no\s+answer|unknown|see\s+solution|-+|\?+)", re.IGNORECASE)
PROOF = re.compile(r"(?:the\s+)?(?:proofs?|proved|proven|see\s+proof|q\.?e\.?d\.?)\b.*", re.IGNORECASE | re.DOTALL)
ASKS_FOR_PROOF = re.compile(r"\b(?:prove|show) that\b", re.IGNORECASE)
PARTS = re.compile(r"(?:^|[\s,;$])\(?(?:a|i|1)\)\s*\S.*?[\s,;$]\(?(?:b|ii|2)\)\s*\S", re.DOTALL)
LONGEST = 300  # characters; a longer gold is a text


def unverifiable(gold: str | None, problem: str) -> str | None:
    """Why no answer to this problem can be judged by this gold, or None if one can."""
    text = (gold or "").strip().strip("$ .")
    if not text:
        return "proof" if ASKS_FOR_PROOF.search(problem) else "no gold"
    if MISSING.fullmatch(text):
        return "not found"
    if PROOF.fullmatch(text):
        return "proof"
    if PARTS.search(text):
        return "several parts"
    if len(text) > LONGEST:
        return "too long"
    if (plain := re.sub(r"\\[{}]", "", text)).count("{") != plain.count("}"):
        return "broken LaTeX"
    return None
