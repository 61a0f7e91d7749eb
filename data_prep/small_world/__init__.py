"""The small world: generated problems with known steps, and small checkpoints, so that every stage runs on a laptop.

A test bench, and called that: nothing measured here is a result on MATH or AIME. `VERSION` names the generator; see docs/small_world.md.
"""

from pathlib import Path

VERSION = "1"
CHECKPOINTS = Path(__file__).parent / "checkpoints"
