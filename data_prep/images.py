"""Images of problems: whatever people have, to RGB pixels with white behind what is transparent."""

import base64
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data_prep.rows import RowError
from data_prep.sources import one_line

PLACE = re.compile(r"<image\s*(\d*)>")  # of an image in a text
LARGEST = 64_000_000  # pixels; a scan of a page has about 9 million
MAX_PIXELS = 1_003_520  # for a model, where nothing else is said: 1,280 patches of 28 x 28, as Qwen2.5-VL recommends
SMALLEST = 4  # pixels of a side
ORIENTATION = 0x0112  # in the EXIF data of photos
NOT_IN_PNG = ("CMYK", "YCbCr", "LAB", "HSV", "F")
# Where a row has its images, the likeliest first: beside MathVista's and MATH-Vision's `decoded_image`, `image` is a
# path in an archive that nobody has.
IMAGE_COLUMNS = ("images", "decoded_image", "image", "image_path")


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


def encoded(image: Image.Image) -> bytes:
    """As PNG."""
    found = io.BytesIO()
    image.save(found, format="PNG")
    return found.getvalue()


def pixel_hash(image: Image.Image | bytes, where: str) -> bytes:
    """SHA-256 of size and RGB pixels: the same for a picture however it is encoded without loss. Raises RowError."""
    if isinstance(image, bytes):
        image = open_image(image, where)
    return hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.convert("RGB").tobytes()).digest()


def images_of(row: Mapping[str, Any], folder: Path | None, where: str) -> list[bytes]:
    """The images of a row as they are encoded, none for a text: see IMAGE_COLUMNS and `load_image`. Raises RowError."""
    column = next((name for name in IMAGE_COLUMNS if row.get(name)), "images")
    value = row.get(column)
    values = value if isinstance(value, list) else [] if value is None else [value]
    try:
        return [load_image(one, column, folder) for one in values]
    except RowError as error:
        raise RowError(f"{where}: {error}") from None


def load_image(value: Any, column: str, folder: Path | None) -> bytes:
    """The encoded image of bytes, the Hub's `{bytes, path}`, a path, or an image that `datasets` has decoded."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes | bytearray) and value:
        return bytes(value)
    if isinstance(value, str):
        path, shown = (folder or Path()) / value, f"column {column!r}: image {value[:200]!r}"
        if folder is None and not path.is_absolute():
            raise RowError(f"{shown} is a relative path, and this data set is no file in whose folder to look")
        try:
            return path.read_bytes()
        except (OSError, ValueError) as error:  # a ValueError: what no path can be, as with a null byte
            why = getattr(error, "strerror", None) or "no path"
            raise RowError(f"{shown} cannot be read ({why}); looked for {str(path)[:400]!r}") from None
    if hasattr(value, "save"):
        encoded = io.BytesIO()
        try:
            value.save(encoded, format="TIFF" if value.mode in NOT_IN_PNG else "PNG")
        except (OSError, ValueError) as error:  # a broken file
            raise RowError(f"column {column!r} holds an unusable image ({one_line(error)})") from None
        return encoded.getvalue()
    raise RowError(f"column {column!r} holds no image, but {type(value).__name__ if value else 'nothing'}")


def with_places(messages: Sequence[Mapping[str, Any]], n_images: int, where: str) -> list[dict[str, Any]]:
    """Messages whose contents are lists of parts, with places for the images in the first user turn.

    Raises RowError where a text has another number of places than there are images.
    """
    found: list[dict[str, Any]] = []
    placed = n_images == 0
    for message in messages:
        text = str(message["content"])
        parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
        if message["role"] == "user" and not placed:
            texts = PLACE.split(text)[::2]
            if len(texts) == 1:
                parts = [*({"type": "image"} for _ in range(n_images)), *parts]
            elif len(texts) - 1 == n_images:
                parts = [{"type": "image"} for _ in range(2 * n_images + 1)]
                parts[::2] = [{"type": "text", "text": part} for part in texts]
                parts = [part for part in parts if part.get("text") != ""]
            else:
                raise RowError(f"{where}: {len(texts) - 1} places for an image in the text, and {n_images} images")
            placed = True
        found.append({"role": message["role"], "content": parts})
    if not placed:
        raise RowError(f"{where}: {n_images} images, and no user turn to show them in")
    return found


def as_rgb(image: bytes, max_pixels: int, where: str) -> bytes:
    """The image as it is, if every reader sees the same in it and it has at most so many pixels; else as `open_image`
    sees it and made smaller, in PNG. Raises RowError.
    """
    found = open_image(image, where)
    stored = Image.open(io.BytesIO(image))
    is_plain = stored.mode == "RGB" and not stored.has_transparency_data and ORIENTATION not in stored.getexif()
    if is_plain and found.width * found.height <= max_pixels:
        return image
    scale = min(1.0, (max_pixels / (found.width * found.height)) ** 0.5)
    if scale < 1:
        found = found.resize([max(SMALLEST, int(side * scale)) for side in found.size], Image.Resampling.LANCZOS)
    return encoded(found)


def size_of(image: bytes) -> int:
    """Pixels."""
    width, height = Image.open(io.BytesIO(image)).size
    return width * height


def data_url(image: bytes, where: str) -> str:
    """The image as PNG in a URL, as chat servers take it. Raises RowError."""
    return f"data:image/png;base64,{base64.b64encode(encoded(open_image(image, where))).decode()}"
