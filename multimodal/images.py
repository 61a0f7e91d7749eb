"""Images of problems: whatever people have, to RGB pixels with white behind what is transparent."""

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data_prep.rows import RowError

LARGEST = 64_000_000  # pixels; a scan of a page has about 9 million
SMALLEST = 4  # pixels of a side


def open_image(encoded: bytes, where: str) -> Image.Image:
    """The image in RGB, upright, its first frame; transparent parts are white, grey of 16 bits keeps its range.

    What it is tells its content, not its name. `where`: file and row, for the message. Raises RowError.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(encoded))
        width, height = image.size
        if width * height > LARGEST:
            raise RowError(
                f"{where}: an image of {width} x {height} pixels: more than {LARGEST:,} in all, make it smaller"
            )
        if min(width, height) < SMALLEST:
            raise RowError(f"{where}: an image of {width} x {height} pixels shows nothing")
        image.load()
    except RowError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error, ... on what is broken
        known = not isinstance(error, UnidentifiedImageError)
        what = "empty" if not encoded else str(error) if known else "of no kind that is known"
        raise RowError(f"{where}: no image that can be read ({' '.join(what.split())[:200]})") from None
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # numbers: PNG's 16 bits, TIFF's 32
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max() > 255 else 255.0
        image = Image.fromarray((values * (255.0 / top)).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def pixels(encoded: bytes, where: str) -> bytes:
    """Size and pixels as raw bytes: the same for a picture however it is encoded without loss."""
    image = open_image(encoded, where)
    return f"{image.width}x{image.height}:".encode() + image.tobytes()
