from __future__ import annotations

import base64
import io
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from codex_magic.errors import CellError
from codex_magic.images import finding, smaller
from codex_magic.images.kind import KINDS, Kind, kind
from codex_magic.turn import Image

if TYPE_CHECKING:
    from collections.abc import Callable

FORMS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "gif": "GIF"}


def image(form: str = "png", size: tuple[int, int] = (30, 20), **how: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.new(how.pop("mode", "RGB"), size, "teal").save(file, FORMS[form], **how)
    return file.getvalue()


def moving(form: str) -> bytes:
    frames = [PIL.Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, FORMS[form], save_all=True, append_images=frames[1:])
    return file.getvalue()


def noise(width: int, height: int, form: str = "png", **how: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype="uint8")
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, FORMS[form], **how)
    return file.getvalue()


def png(width: int, height: int, pixels: bytes, *, depth: int = 1, crc: int = 0) -> bytes:
    """A PNG in shades of grey with these bytes for its pixels, whatever they are."""
    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body))
        + name
        + body
        + struct.pack(">I", zlib.crc32(name + body) ^ crc)
        for name, body in chunks
    )


def rows(width: int, height: int) -> bytes:
    """The pixels of a black PNG of so many."""
    return zlib.compress(bytes((1 + -(-width // 8)) * height))


def sent(found: Image) -> tuple[str, str, tuple[int, int]]:
    """What a model would get: its name, its kind, its size as it really is."""
    head, _, body = found.url.partition(";base64,")
    data = base64.b64decode(body, validate=True)
    with PIL.Image.open(io.BytesIO(data)) as opened:
        opened.load()
        assert found.size == opened.size
        assert head == f"data:image/{str(opened.format).lower()}"
        return found.name, head.removeprefix("data:image/"), opened.size


# --- what a file is --------------------------------------------------------------------------


READABLE: dict[str, tuple[bytes, Kind]] = {
    **{form: (image(form), Kind(form, 30, 20)) for form in KINDS},
    "progressive jpeg": (image("jpeg", progressive=True), Kind("jpeg", 30, 20)),
    "lossless webp": (image("webp", lossless=True), Kind("webp", 30, 20)),
    "webp with alpha": (image("webp", mode="RGBA"), Kind("webp", 30, 20)),
    "webp with a profile": (image("webp", icc_profile=b"p"), Kind("webp", 30, 20)),
    "wide": (image("png", (2500, 1)), Kind("png", 2500, 1)),
    "wide webp": (image("webp", (16000, 1), lossless=True), Kind("webp", 16000, 1)),
}


@pytest.mark.parametrize("name", READABLE)
def test_a_kind_is_told_by_the_first_bytes(name: str) -> None:
    data, found = READABLE[name]
    assert kind(data) == found


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "moving gif": (moving("gif"), "moves, and models read still images only"),
    "moving webp": (moving("webp"), "moves, and models read still images only"),
    "svg": (b'<?xml version="1.0"?>\n<svg></svg>', "is an SVG drawing, and models read pixels only"),
    "html": (b"\n<!DOCTYPE html><title>404", "is a web page and no image"),
    "pdf": (b"%PDF-1.7", "is a PDF file and no image"),
    "text": (b"a,b\n1,2\n", "is no PNG, JPEG, WEBP or GIF image"),
    "bmp": (b"BM" + bytes(60), "is no PNG, JPEG, WEBP or GIF image"),
    "no pixels": (b"\x89PNG\r\n\x1a\n" + bytes(16), "has no pixels"),
    "gif without an end": (image("gif")[:-1], "is cut off"),
    **{f"cut {form}": (image(form)[:18], "is cut off") for form in KINDS},
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_no_model_reads_is_called_by_what_it_is(name: str) -> None:
    data, told = UNREADABLE[name]
    with pytest.raises(ValueError, match=f"^{told}$"):
        kind(data)


@given(st.sampled_from([data for data, _ in READABLE.values()]), st.data())
def test_no_bytes_bring_it_down(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data)))
    spoilt = (
        data[:at] + draw.draw(st.binary(max_size=4)) + data[at + draw.draw(st.integers(0, 4)) :]
    )
    try:
        found = kind(spoilt)
    except ValueError:
        return
    assert found.name in KINDS


# --- whether it is all there -------------------------------------------------------------------


@pytest.mark.parametrize("name", READABLE)
@pytest.mark.parametrize("has_pillow", [True, False], ids=["pillow", "alone"])
def test_an_image_that_broke_off_is_not_sent(
    name: str, has_pillow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = READABLE[name]
    if not has_pillow:
        monkeypatch.setitem(sys.modules, "PIL", None)
    told = set()
    for end in range(13, len(data)):
        with pytest.raises(CellError) as error:
            find(data[:end])
        told.add(error.value.message)
    assert told == {"it is cut off"}
    assert find(data + b"\0 and more").name == "it"


HARMLESS: dict[str, bytes] = {
    "a thumbnail in it": image("jpeg", exif=b"Exif\0\0" + image("jpeg")),
    "restarts": noise(64, 64, "jpeg", restart_marker_rows=1),
    "zeros before its end": image("gif")[:-1] + b"\0;",
    "a shade to see through": image("png", mode="P", transparency=0),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_stands_in_an_image_is_not_its_end(name: str) -> None:
    data = HARMLESS[name]
    url = f"data:image/{kind(data).name};base64,{base64.b64encode(data).decode()}"
    assert find(data).url == url
    with pytest.raises(CellError, match=r"^it is cut off"):
        find(data[:-3])


@pytest.mark.parametrize("data", [png(3, 3, rows(3, 3), crc=1), image()[:60] + b"?" + image()[61:]])
def test_a_png_of_which_a_bit_has_turned_is_not_sent(data: bytes) -> None:
    with pytest.raises(CellError) as error:
        find(data)
    assert str(error.value) == f"it is damaged. {SAVE}"


BROKEN: dict[str, bytes] = {
    "pixels that are none": png(30, 20, b"nothing"),
    "fewer rows than it says": png(30, 20, zlib.compress(b"")),
    "a large one": png(3000, 3000, b"nothing"),
    "a jpeg without its tables": image("jpeg").replace(b"\xff\xdb", b"\xff\xfe"),
    "a webp of half its pixels": b"RIFF\xc0\0\0\0" + noise(64, 64, "webp")[8:200],
}


@pytest.mark.parametrize("name", BROKEN)
def test_where_pillow_is_what_it_cannot_decode_is_not_sent(name: str) -> None:
    with pytest.raises(CellError, match=r"^it cannot be read: "):
        find(BROKEN[name])


# --- files and addresses ---------------------------------------------------------------------


@pytest.mark.parametrize("form", KINDS)
def test_a_file_is_sent_as_it_is(form: str, tmp_path: Path) -> None:
    data = image(form)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a plot.xyz").write_bytes(data)
    url = f"data:image/{form};base64,{base64.b64encode(data).decode()}"
    found = Image("a plot.xyz", url, (30, 20))
    assert finding.find("sub/a plot.xyz", tmp_path, {}) == found
    assert finding.find(str(tmp_path / "sub" / "a plot.xyz"), Path("/"), {}) == found


def test_an_address_is_for_the_backend_to_fetch() -> None:
    word = "https://a.example/plot.png"
    assert finding.find(word, Path("/"), {}) == Image(word, word)


def test_a_data_address_is_checked_like_a_file() -> None:
    url = f"data:image/png;base64,{base64.b64encode(image()).decode()}"
    assert finding.find(url, Path("/"), {}) == Image("the image", url, (30, 20))
    wrong = f"data:image/png;base64,{base64.b64encode(b'<svg>').decode()}"
    with pytest.raises(CellError, match="the image is an SVG drawing"):
        finding.find(wrong, Path("/"), {})


def test_a_file_goes_before_a_variable_and_a_variable_before_a_folder(tmp_path: Path) -> None:
    names = {"fig": image("png", (4, 4)), "plots": image("png", (5, 5))}
    (tmp_path / "fig").write_bytes(image("png", (9, 9)))
    (tmp_path / "plots").mkdir()
    assert finding.find("fig", tmp_path, names).size == (9, 9)
    assert finding.find("plots", tmp_path, names).size == (5, 5)


SAVE = finding.SAVE_IT
NOWHERE = (
    "no file of this name in {folder}. Name a file or an https: address, or give the figure itself"
)
WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing.png": (lambda path: None, f"there is no image 'missing.png': {NOWHERE}"),
    "folder": (lambda path: path.mkdir(), "folder is a folder and no image. Name a file in it"),
    "pipe": (os.mkfifo, f"pipe is no ordinary file. {SAVE}"),
    "empty.png": (lambda path: path.touch(), f"empty.png is empty. {SAVE}"),
    "a.svg": (
        lambda path: path.write_text("<svg/>"),
        f"a.svg is an SVG drawing, and models read pixels only. {SAVE}",
    ),
    "page.png": (
        lambda path: path.write_text("<html>"),
        f"page.png is a web page and no image. {SAVE}",
    ),
    "a.gif": (
        lambda path: path.write_bytes(moving("gif")),
        f"a.gif moves, and models read still images only. {SAVE}",
    ),
    "huge.png": (
        lambda path: path.write_bytes(image() + bytes(finding.FILE_BYTES)),
        "huge.png is larger than 20 MB. Make it smaller first",
    ),
    "http://a.example/a.png": (
        lambda path: None,
        "an image's address begins with https:. Or name a file",
    ),
    "data:image/png,abc": (lambda path: None, f"this data: address is not in base64. {SAVE}"),
    "data:image/png;base64,%": (lambda path: None, f"this data: address is not in base64. {SAVE}"),
    "a\x00b": (lambda path: None, f"there is no image 'a\\x00b': {NOWHERE}"),
}


@pytest.mark.parametrize("word", WRONG)
def test_what_cannot_be_sent_is_one_clear_error(word: str, tmp_path: Path) -> None:
    make, told = WRONG[word]
    make(tmp_path / word if word.isprintable() else tmp_path)
    with pytest.raises(CellError) as error:
        finding.find(word, tmp_path, {})
    assert str(error.value) == told.replace("{folder}", str(tmp_path))


def test_a_file_that_cannot_be_read_says_so() -> None:
    with pytest.raises(CellError, match=r"^/proc/self/mem cannot be read: input/output error$"):
        finding.find("/proc/self/mem", Path("/"), {})


def test_what_is_no_variable_either_is_said_where_there_are_some(tmp_path: Path) -> None:
    with pytest.raises(CellError) as caught:
        finding.find("plt", tmp_path, {"plot": 1})
    assert str(caught.value) == (
        f"there is no image 'plt': no file of this name in {tmp_path}, and no variable. "
        "Name a file, an https: address, or a variable that holds a figure"
    )


# --- variables -------------------------------------------------------------------------------


def figure(**how: Any) -> Figure:
    made = Figure(**how)
    made.subplots().plot([1, 3, 2])
    return made


def find(value: Any, base: Path = Path("/")) -> Image:
    return finding.find("it", base, {"it": value})


def test_a_figure_is_drawn() -> None:
    name, form, size = sent(find(figure(figsize=(4, 3), dpi=100)))
    assert (name, form) == ("it", "png")
    assert 300 < size[0] < 450
    assert max(sent(find(figure(figsize=(40, 30), dpi=100)))[2]) == smaller.LONGEST


def test_pixels_in_memory_are_sent_as_png(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(image("jpeg"))
    gray = np.zeros((20, 30))
    with PIL.Image.open(tmp_path / "a.jpg") as opened:
        made = [
            opened,
            PIL.Image.new("CMYK", (30, 20)),
            PIL.Image.new("I;16", (30, 20)),
            PIL.Image.new("P", (30, 20)),
            gray,
            gray > 0,
            np.full((20, 30, 3), 0.5),
            np.full((20, 30, 4), 255, "int64"),
        ]
        assert [sent(find(each)) for each in made] == [("it", "png", (30, 20))] * len(made)


def test_bytes_and_paths_are_images_too(tmp_path: Path) -> None:
    data = image("webp")
    (tmp_path / "a.webp").write_bytes(data)
    kinds = [data, bytearray(data), memoryview(data)]
    assert [sent(find(each)) for each in kinds] == [("it", "webp", (30, 20))] * 3
    paths = [Path("a.webp"), "a.webp", tmp_path / "a.webp"]
    assert [sent(find(each, tmp_path))[1:] for each in paths] == [("webp", (30, 20))] * 3


def colours(found: Image) -> list[Any]:
    """What a model would see, on a white page, from left to right."""
    data = base64.b64decode(found.url.partition(",")[2])
    with PIL.Image.open(io.BytesIO(data)) as opened:
        assert opened.mode in ("1", "L", "LA", "P", "RGB", "RGBA")
        seen = opened.convert("RGBA")
    page = PIL.Image.alpha_composite(PIL.Image.new("RGBA", seen.size, "white"), seen)
    shown = [page.getpixel((x, 0))[:3] for x in range(page.width)]  # type: ignore[index]
    return [one[0] if len(set(one)) == 1 else one for one in shown]


def strip(mode: str, *pixels: Any, **info: Any) -> PIL.Image.Image:
    made = PIL.Image.new(mode, (len(pixels), 1))
    for x, pixel in enumerate(pixels):
        made.putpixel((x, 0), pixel)
    made.info.update(info)
    return made


def palette(**info: Any) -> PIL.Image.Image:
    made = strip("P", 0, 1, **info)
    made.putpalette([255, 0, 0, 0, 0, 255])
    return made


RED, BLUE = (255, 0, 0), (0, 0, 255)
SEEN: dict[str, tuple[PIL.Image.Image, list[Any]]] = {
    "16 bits": (strip("I;16", 0, 16384, 32768, 65535), [0, 64, 128, 255]),
    "a dark one of 16 bits": (strip("I;16", 100, 200, 300, 400), [0, 85, 170, 255]),
    "16 bits the other way": (strip("I;16B", 100, 200, 300, 400), [0, 85, 170, 255]),
    "all the same": (strip("I;16", 700, 700), [0, 0]),
    "a shade of before": (strip("I;16", 0, 65535, transparency=0), [0, 255]),
    "whole numbers": (strip("I", -100, 0, 155), [0, 100, 255]),
    "whole numbers that are colours": (strip("I", 0, 7, 128), [0, 7, 128]),
    "measurements": (strip("F", -1.0, 0.0, 1.0), [0, 128, 255]),
    "shares": (strip("F", 0.0, 0.25, 0.5), [0, 64, 128]),
    "broken colours": (strip("F", 0.0, 7.4, 128.0), [0, 7, 128]),
    "1 bit": (strip("1", 0, 255), [0, 255]),
    "grey to see through": (strip("LA", (0, 255), (0, 0)), [0, 255]),
    "colours to see through": (strip("RGBA", (*RED, 255), (*RED, 0)), [RED, 255]),
    "those multiplied": (strip("RGBa", (*RED, 255), (0, 0, 0, 0)), [RED, 255]),
    "a palette": (palette(), [RED, BLUE]),
    "a palette with a hole": (palette(transparency=1), [RED, 255]),
    "a palette to see through": (palette(transparency=b"\x00\xff"), [255, BLUE]),
    "a palette beside what is seen through": (palette(transparency=1).convert("PA"), [RED, 255]),
    "inks": (strip("CMYK", (0, 255, 255, 0), (0, 0, 0, 255)), [RED, 0]),
    "brightness and colour": (strip("YCbCr", (255, 128, 128), (0, 128, 128)), [255, 0]),
}


@pytest.mark.parametrize("name", SEEN)
def test_an_image_looks_as_its_owner_sees_it(name: str) -> None:
    made, seen = SEEN[name]
    assert colours(find(made)) == seen


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "F"])
def test_a_large_one_of_many_shades(mode: str) -> None:
    made = strip(mode, *[0] * 1500, *[30000] * 1500)
    found = colours(find(made))
    assert (len(found), found[:900], found[-900:]) == (2000, [0] * 900, [255] * 900)


def test_a_file_of_many_shades_is_made_anew(tmp_path: Path) -> None:
    strip("I;16", 0, 30000, 60000).save(tmp_path / "depth.png")
    found = finding.find("depth.png", tmp_path, {})
    assert (sent(found), colours(found)) == (("depth.png", "png", (3, 1)), [0, 128, 255])


@pytest.mark.parametrize("wrong", [float("inf"), float("nan")])
def test_numbers_that_are_no_shades_say_so(wrong: float) -> None:
    with pytest.raises(CellError) as error:
        find(strip("F", wrong, 0.0, 1.0))
    assert str(error.value) == (
        "the image holds numbers that are no shades of grey. "
        "Replace what is infinite or missing first"
    )


def test_colours_come_through() -> None:
    found = find(np.array([[[1.0, 0.0, 0.5]]]))
    data = base64.b64decode(found.url.partition(",")[2])
    with PIL.Image.open(io.BytesIO(data)) as opened:
        assert opened.getpixel((0, 0)) == (255, 0, 128)


NO_COLOURS = "They must be whole numbers from 0 to 255, or shares from 0 to 1"
NO_SHAPE = "It must be height by width, or that by 3 or 4 colours"
LISTED = "Name a Matplotlib figure, a Pillow image, an array, bytes, or a file"
NO_IMAGES: list[tuple[Any, str]] = [
    (np.zeros(5), f"the array it has the shape (5,), which is no image's. {NO_SHAPE}"),
    (np.zeros((2, 2, 2)), f"the array it has the shape (2, 2, 2), which is no image's. {NO_SHAPE}"),
    (np.zeros((0, 4)), "the array it is empty"),
    (np.full((2, 2), 256), f"the array it holds numbers that are no colours. {NO_COLOURS}"),
    (np.full((2, 2), -0.1), f"the array it holds numbers that are no colours. {NO_COLOURS}"),
    (np.full((2, 2), np.nan), f"the array it holds numbers that are no colours. {NO_COLOURS}"),
    (np.full((2, 2), "a"), f"the array it holds numbers that are no colours. {NO_COLOURS}"),
    (
        figure().axes[0],
        "it is an Axes, and that is no image. Name its figure: fig = it.figure, then -i fig",
    ),
    ([1], f"it is a list, and that is no image. {LISTED}"),
    (b"abc", f"it is no PNG, JPEG, WEBP or GIF image. {SAVE}"),
    ("no.png", f"there is no image 'no.png': {NOWHERE}".replace("{folder}", "/")),
]


@pytest.mark.parametrize(("value", "told"), NO_IMAGES, ids=map(str, range(len(NO_IMAGES))))
def test_a_variable_that_is_no_image_says_so(value: Any, told: str) -> None:
    with pytest.raises(CellError) as error:
        find(value)
    assert str(error.value) == told


def test_a_figure_that_cannot_be_drawn_says_why() -> None:
    broken = figure()
    broken.axes[0].set_title("$\\nonsense$")
    with pytest.raises(CellError, match=r"the figure it cannot be drawn: .*nonsense"):
        find(broken)


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise AssertionError(name)

    def __eq__(cls, other: object) -> bool:
        raise AssertionError

    __hash__ = type.__hash__


class Trap(metaclass=Meta):
    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(name)


def trap() -> Any:
    return Trap()


class Own(Figure):
    def savefig(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError


class Claims:
    def savefig(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError


Claims.__module__, Claims.__qualname__ = Figure.__module__, Figure.__qualname__


class OwnPixels(PIL.Image.Image):
    @property
    def size(self) -> Any:
        raise AssertionError


class OwnArray(np.ndarray):  # type: ignore[type-arg]
    @property
    def ndim(self) -> Any:
        raise AssertionError


@pytest.mark.parametrize(
    "make",
    [trap, Own, Claims, OwnPixels, lambda: np.zeros((2, 2)).view(OwnArray)],
    ids=["trap", "figure", "claims", "pixels", "array"],
)
def test_no_code_of_a_type_that_is_not_on_the_list_runs(make: Callable[[], Any]) -> None:
    with pytest.raises(CellError, match="and that is no image"):
        find(make())


# --- large ones ------------------------------------------------------------------------------


def test_a_large_image_is_made_smaller(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image("png", (4000, 1000)))
    (tmp_path / "a.jpg").write_bytes(image("jpeg", (1000, 4000)))
    (tmp_path / "a.gif").write_bytes(image("gif", (3000, 10)))
    found = [sent(finding.find(name, tmp_path, {})) for name in ("a.png", "a.jpg", "a.gif")]
    assert found == [
        ("a.png", "png", (2000, 500)),
        ("a.jpg", "jpeg", (500, 2000)),
        ("a.gif", "png", (2000, 7)),
    ]


def test_one_of_many_bytes_is_sent_as_jpeg() -> None:
    data = noise(1500, 1400)
    assert len(data) > smaller.SENT_BYTES
    found = find(data)
    assert sent(found)[1:] == ("jpeg", (1500, 1400))
    assert len(found.url) < smaller.SENT_BYTES * 4 / 3


def test_a_turn_holds_so_many_and_no_more() -> None:
    one = Image("a", "data:," + "x" * (4 * finding.TURN_BYTES // 9))
    finding.together([one] * 2)
    with pytest.raises(CellError) as error:
        finding.together([one] * 4)
    assert str(error.value) == (
        "the images have 20 MB together, and a turn takes 15. "
        "Send some of them with the next turn, or save smaller ones"
    )


def test_a_photograph_stays_upright() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    assert sent(find(image("jpeg", (3000, 1500), exif=exif)))[2] == (1000, 2000)


def test_too_many_pixels_are_not_decoded() -> None:
    bomb = image("png", (10_000, 9_000), mode="1")
    with pytest.raises(CellError) as error:
        find(bomb)
    assert str(error.value) == (
        f"it has 10,000 by 9,000 pixels and {len(bomb) / 2**20:.1f} MB, which is too large. "
        "Save a smaller one, or a part of it"
    )


def test_without_pillow_large_ones_are_sent_as_they_are_or_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    array, many = np.zeros((2, 2)), noise(1500, 1400)
    monkeypatch.setitem(sys.modules, "PIL", None)
    large = png(4000, 1000, rows(4000, 1000))
    assert find(large).size == (4000, 1000)
    with pytest.raises(CellError) as error:
        find(many)
    assert str(error.value) == (
        f"it has 1,500 by 1,400 pixels and {len(many) / 2**20:.1f} MB, which is too large to send. "
        f"{smaller.INSTALL}"
    )
    with pytest.raises(CellError) as error:
        find(array)
    assert str(error.value) == f"to send the array it, Pillow is needed. {smaller.INSTALL}"
