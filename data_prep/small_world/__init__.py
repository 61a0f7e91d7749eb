"""The small world: generated problems with known steps, and small checkpoints, so that every stage runs on a laptop.

A test bench, and called that: nothing measured here is a result on MATH or AIME. See docs/small_world.md.
"""

from pathlib import Path

VERSION = "1"  # names the generator; changes with it once it is frozen
CHECKPOINTS = Path(__file__).parent / "checkpoints"
