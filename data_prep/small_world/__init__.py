"""The small world: generated problems with known steps, and small checkpoints, so that every stage runs on a laptop.

A test bench, and called that: nothing measured here is a result on MATH or AIME. Frozen: see `VERSION` and the docs.
"""

from pathlib import Path

VERSION = "1"
CHECKPOINTS = Path(__file__).parent / "checkpoints"
