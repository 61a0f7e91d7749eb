"""Is the picture used? The same problems with white figures, and with other problems' figures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from PIL import Image

from data_prep.images import encoded, open_image

Control = Literal["blank", "swapped"]
CONTROLS: tuple[Control, ...] = ("blank", "swapped")


def other_figures(images: Sequence[Sequence[bytes]], control: Control) -> list[list[bytes]]:
    """Each row's figures in white, of the same sizes; or those of the next row that has others.

    A row keeps as many figures as it has. Where no row has others, swapped ones are its own.
    """
    if control == "blank":
        return [[blank_of(image) for image in own] for own in images]
    found = []
    for i, own in enumerate(images):
        following = (images[(i + k) % len(images)] for k in range(1, len(images)))
        others = next((other for other in following if other and list(other) != list(own)), own)
        found.append([others[k % len(others)] for k in range(len(own))])
    return found


def blank_of(image: bytes) -> bytes:
    return encoded(Image.new("RGB", open_image(image, "a figure").size, "white"))


def figure_use(rows: Sequence[Mapping[str, Any]], decoding: str) -> list[dict[str, Any]]:
    """By benchmark and control: how much more is right with a problem's own figure, with a 95 % interval, paired by
    problem. `rows`: response rows, of which those by the controls have their name as `decoding`.
    """
    from data_prep.statistics import paired_difference  # slow to import

    found = []
    for benchmark in dict.fromkeys(row["benchmark"] for row in rows):
        shares: dict[str, dict[str, list[bool]]] = {}
        for row in rows:
            if row["benchmark"] == benchmark:
                own = shares.setdefault(row["decoding"], {})
                own.setdefault(row["problem_id"], []).append(row["verdict"] == "right")
        for control in CONTROLS:
            if control in shares:
                pairs = [
                    (sum(shares[decoding][key]) / len(shares[decoding][key]), sum(other) / len(other))
                    for key, other in shares[control].items()
                ]
                estimate = paired_difference(*zip(*pairs, strict=True))
                found.append({"benchmark": benchmark, "control": control, **asdict(estimate)})
    return found


def described(use: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines for the terminal; a warning where the figure makes no difference that is seen."""
    lines = []
    for one in use:
        kind = "white ones" if one["control"] == "blank" else "exchanged ones"
        low, high = 100 * one["low"], 100 * one["high"]
        lines.append(
            f"figures    {one['benchmark']}: {100 * one['mean']:+.1f} points ({low:+.1f} to {high:+.1f}) against {kind}"
            + ("" if one["low"] > 0 else "; it is not seen that they are used")
        )
    return lines
