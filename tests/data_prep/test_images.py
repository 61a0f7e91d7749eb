"""Images as people have them."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.images import as_rgb, open_image, pixel_hash, size_of, with_places
from data_prep.rows import RowError


def encode(image: Image.Image, form: str = "PNG", **more: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format=form, **more)
    return out.getvalue()


DRAWN = Image.fromarray(np.tile(np.arange(0, 250, 10, dtype=np.uint8), (20, 1)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I", "F"])
def test_every_mode_becomes_rgb_and_keeps_what_it_shows(mode: str) -> None:
    image = DRAWN.convert(mode) if mode not in ("I;16",) else Image.fromarray(np.asarray(DRAWN, np.uint16) * 257)
    form = "TIFF" if mode in ("CMYK", "I", "F") else "PNG"
    found = open_image(encode(image, form), "row 1")
    assert found.mode == "RGB"
    assert found.size == DRAWN.size
    wanted = DRAWN.convert("1").convert("L") if mode == "1" else DRAWN
    assert np.abs(np.asarray(found.convert("L"), int) - np.asarray(wanted, int)).max() <= 3


def test_what_is_transparent_is_white() -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.putpixel((3, 3), (0, 0, 0, 255))
    found = np.asarray(open_image(encode(image), "row 1"))
    assert (found == 255).sum() == 3 * 63
    assert not found[3, 3].any()
    palette = DRAWN.convert("P")
    palette.info["transparency"] = 0
    assert open_image(encode(palette, transparency=0), "row 1").getpixel((0, 0)) == (255, 255, 255)


def test_a_photo_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    assert open_image(encode(DRAWN, "JPEG", exif=exif), "row 1").size == (20, 25)


def test_the_content_tells_and_not_the_name() -> None:
    assert open_image(encode(DRAWN, "JPEG"), "figure.png").size == (25, 20)


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        (b"", "no image that can be read (empty)"),
        (b"not an image at all", "no image that can be read (of no kind that is known)"),
        (encode(DRAWN)[:50], "no image that can be read"),
        (encode(Image.new("L", (3, 100))), "3 x 100 pixels shows nothing"),
        (encode(Image.new("1", (9000, 8000))), "9000 x 8000 pixels: more than"),
    ],
    ids=["empty", "text", "cut", "thin", "huge"],
)
def test_what_is_no_image_is_named(encoded: bytes, said: str) -> None:
    with pytest.raises(RowError) as error:
        open_image(encoded, "a.jsonl, row 7")
    assert str(error.value).startswith("a.jsonl, row 7: ")
    assert said in str(error.value)


def test_pixels_are_the_same_however_they_are_kept() -> None:
    forms = [encode(DRAWN, "PNG"), encode(DRAWN, "PNG", compress_level=0), encode(DRAWN.convert("RGB"), "BMP")]
    assert len({pixel_hash(one, "row 1") for one in forms}) == 1
    assert pixel_hash(encode(DRAWN.resize((20, 25))), "row 1") != pixel_hash(encode(DRAWN), "row 1")


def test_what_every_reader_sees_alike_stays_as_it_is() -> None:
    plain = encode(DRAWN.convert("RGB"))
    assert as_rgb(plain, 10_000, "row 1") == plain
    jpeg = encode(DRAWN.convert("RGB"), "JPEG")
    assert as_rgb(jpeg, 10_000, "row 1") == jpeg
    for other in (DRAWN, DRAWN.convert("RGBA"), DRAWN.convert("1")):
        found = Image.open(io.BytesIO(as_rgb(encode(other), 10_000, "row 1")))
        assert (found.mode, found.size) == ("RGB", DRAWN.size)


@pytest.mark.parametrize("limit", [400, 100, 20])
def test_what_is_too_large_is_made_smaller(limit: int) -> None:
    found = as_rgb(encode(DRAWN.convert("RGB")), limit, "row 1")
    assert 0.4 * limit < size_of(found) <= limit
    with pytest.raises(RowError, match="row 1: no image"):
        as_rgb(b"none", limit, "row 1")


def test_places_of_images() -> None:
    def kinds(text: str, n: int) -> list[str]:
        (found,) = with_places([{"role": "user", "content": text}], n, "row 1")
        return ["image" if part["type"] == "image" else part["text"] for part in found["content"]]

    assert kinds("Find x.", 2) == ["image", "image", "Find x."]
    assert kinds("<image>Find x.", 1) == ["image", "Find x."]
    assert kinds("If <image1> is a, and <image 2> b?", 2) == ["If ", "image", " is a, and ", "image", " b?"]
    assert kinds("Find <image>.", 0) == ["Find <image>."]
    with pytest.raises(RowError, match="row 1: 1 places for an image in the text, and 2 images"):
        kinds("<image>Find x.", 2)
    with pytest.raises(RowError, match="no user turn"):
        with_places([{"role": "assistant", "content": "x"}], 1, "row 1")
