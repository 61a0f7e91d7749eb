"""Units behind numbers: what may stand there without changing the number, and how two of them compare.

Only known units and plain plural nouns ("12 apples") are units. Anything else after a number may mean another number
("42 million", "5 or 6", "7 is wrong"), so that nothing with it is read as a number.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 5  # words of a unit

# Word: (dimension, size in the unit of that dimension). Short names are case-sensitive, long ones are not.
KNOWN: dict[str, tuple[str, Fraction]] = {
    name: (dimension, Fraction(size))
    for dimension, sizes in {
        "length": "mm 1/1000, cm 1/100, dm 1/10, m 1, km 1000, nm 1/1000000000, meter 1, metre 1, millimeter 1/1000, "
        "centimeter 1/100, kilometer 1000, kilometre 1000, in 127/5000, inch 127/5000, inches 127/5000, "
        "ft 381/1250, foot 381/1250, feet 381/1250, yd 1143/1250, yard 1143/1250, mi 1609344/1000, "
        "mile 1609344/1000, "
        "Å 1/10000000000, angstrom 1/10000000000",
        "mass": "mg 1/1000, g 1, kg 1000, gram 1, milligram 1/1000, kilogram 1000, lb 45359237/100000, "
        "pound 45359237/100000, oz 45359237/1600000, ounce 45359237/1600000, ton 1000000, tonne 1000000, amu 0.001",
        "time": "ms 1/1000, s 1, sec 1, second 1, min 60, minute 60, h 3600, hr 3600, hour 3600, day 86400, "
        "week 604800, "
        "year 31557600, yr 31557600, month 2629800",
        "money": "dollar 1, cent 1/100, USD 1", "yuan": "yuan 1", "euro": "euro 1", "rupee": "rupee 1",
        "volume": "L 1, l 1, mL 1/1000, ml 1/1000, liter 1, litre 1, milliliter 1/1000, gallon 473176473/125000000",
        "angle": "rad 1, radian 1",
        "celsius": "°C 1, celsius 1", "fahrenheit": "°F 1, fahrenheit 1", "kelvin": "K 1, kelvin 1",
        "energy": "J 1, kJ 1000, MJ 1000000, eV 0.00001, keV 0.01, MeV 10, GeV 10000, cal 4.184, kcal 4184, "
        "erg 0.0000001, "
        "joule 1, kilojoule 1000",
        "force": "N 1, newton 1, kN 1000", "power": "W 1, watt 1, kW 1000, kilowatt 1000, MW 1000000",
        "pressure": "Pa 1, kPa 1000, atm 101325, bar 100000, torr 133.322", "amount": "mol 1, mole 1, mmol 0.001",
        "frequency": "Hz 1, kHz 1000, MHz 1000000, GHz 1000000000, hertz 1",
        "voltage": "V 1, volt 1, mV 0.001, kV 1000", "current": "A 1, amp 1, ampere 1, mA 0.001",
        "resistance": "Ω 1, ohm 1", "charge": "C 1, coulomb 1", "capacity": "F 1, farad 1, μF 0.000001",
        "speed": "mph 1397/3125, kph 5/18, kmh 5/18", "molar": "M 1", "dyne": "dyn 1, dyne 1",
    }.items()
    for name, size in (entry.split() for entry in sizes.split(", "))
}  # fmt: skip
COMPOSED = {"speed": (("length", 1), ("time", -1)), "volume": (("length", 3),)}  # in m/s; a litre is 0.001 cubic metres
GENERIC = {"unit", "units", "degree", "degrees"}
POWERS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3}
# Nouns that count without the plural s, and words with one that are none, or that count by themselves.
NOUNS = frozenset("people men women children fish sheep mice grade place position hp".split())
NO_NOUNS = frozenset(
    (
        "plus minus times halves thirds quarters fourths fifths sixths sevenths eighths ninths tenths hundredths "
        "thousandths tens hundreds thousands millions billions trillions dozens scores grosses percents roots powers "
        "factorials squares cubes logs modulus versus always perhaps sometimes besides towards afterwards unless this "
        "thus does has was remains equals exceeds becomes gives means says others nevertheless negatives inverses "
        "reciprocals choices ors ands nots possibilities options candidates answers values bits digits its "
        "yes fails works holds wins loses stands breaks ends stops"
    ).split()
)
AFTER = frozenset("ago old long each total tall high wide deep apart left altogether away".split())  # behind a unit
TOKEN = re.compile(
    r"\s*(?:(/|\bper\b)|(\\cdot|·|\*)|\^\s*\{?\s*(-?\d)\s*\}?|((?:\^\\circ\s*|°\s*)[CF]\b|[a-zA-ZÅΩμ]+\.?))"
)


@dataclass(frozen=True)
class Unit:
    """`dimensions`: pairs of dimension and power, empty for what only has a name. `size`: in the dimensions' units."""

    name: str
    dimensions: tuple[tuple[str, int], ...] = ()
    size: Fraction = Fraction(1)


def find_unit(text: str) -> Unit | None:
    """The unit that a text is, such as `cm`, `m/s`, `square feet` or `apples`; None if it is anything else."""
    text = text.strip()
    position, sign, ahead, n_words = 0, 1, 1, 0
    dimensions: dict[str, int] = {}
    size, names, last = Fraction(1), [], ("", Fraction(1), 0)
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match:
            return None
        position = match.end()
        slash, _, power, word = match.groups()
        if slash:
            sign = -1
        elif power:  # of the word before
            dimension, factor, old = last
            if not dimension:
                return None
            change = old // abs(old) * int(power) - old
            dimensions[dimension] = dimensions.get(dimension, 0) + change
            size *= factor**change
            last = ("", Fraction(1), 0)
        elif word:
            n_words += 1
            word = word.rstrip(".").replace("^\\circ", "°").replace(" ", "")
            if word in POWERS:
                if word.endswith("ed"):
                    return None  # "42 squared"
                ahead = POWERS[word]
                continue
            found = known(word)
            if found:
                dimension, factor = found
                dimensions[dimension] = dimensions.get(dimension, 0) + sign * ahead
                size *= factor ** (sign * ahead)
                last = (dimension, factor, sign * ahead)
            elif word in AFTER and n_words > 1:
                continue
            elif is_noun(word) or word in GENERIC:
                names.append(word.casefold() if word not in GENERIC else "")
                last = ("", Fraction(1), 0)
            else:
                return None
            ahead = 1
    if not n_words or n_words > LONGEST or ahead != 1:
        return None
    for composed, base in COMPOSED.items():
        if composed in dimensions:
            times = dimensions.pop(composed)
            size *= Fraction(1, 1000) ** times if composed == "volume" else 1
            for dimension, power_ in base:
                dimensions[dimension] = dimensions.get(dimension, 0) + power_ * times
    return Unit(" ".join(filter(None, names)), tuple(sorted((d, p) for d, p in dimensions.items() if p)), size)


def known(word: str) -> tuple[str, Fraction] | None:
    if word in KNOWN:
        return KNOWN[word]
    folded = word.casefold()
    if len(folded) > 3:
        return KNOWN.get(folded) or (KNOWN.get(folded[:-1]) if folded.endswith("s") else None)
    return KNOWN.get(folded[:-1]) if folded in ("yds", "lbs", "hrs", "cms", "kms") else None


def is_noun(word: str) -> bool:
    folded = word.casefold()
    plural = folded.endswith("s") and not folded.endswith("ss") and len(folded) >= 4
    return folded in NOUNS or (plural and folded not in NO_NOUNS and word.isalpha())


def factor_between(gold: Unit | None, answer: Unit | None) -> Fraction | None:
    """What the answer's number is multiplied with to be in the gold's unit; None if the units are of two kinds.

    A unit may be left out or added.
    """
    if gold is None or answer is None or gold == answer or not (gold.dimensions or gold.name):
        return Fraction(1)
    if not (answer.dimensions or answer.name):
        return Fraction(1)
    if gold.dimensions == answer.dimensions and gold.name == answer.name:
        return answer.size / gold.size
    return None
