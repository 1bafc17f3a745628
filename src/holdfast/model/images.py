"""Images of every mode as PNG files that give back what was put in: pixels, mode, palette and
metadata (resolution, EXIF, colour profile).

A grey or colour image is an ordinary PNG. Another mode's bytes are the pixels of a PNG that has as
many bytes a pixel, and a private chunk says what they are.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import msgspec

_CHUNK = b"hoLd"
"""Name of the private chunk (ancillary, private, unsafe to copy): what the file itself does not
say, as :class:`_About`."""

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""The modes that PNG keeps bit by bit, by their bytes per pixel."""


class _About(msgspec.Struct, array_like=True):
    """Mode, size in pixels, palette (its mode, whether it is indexed raw, its bytes), and the
    metadata by name."""

    mode: str
    size: tuple[int, int]
    palette: tuple[str, bytes] | None
    info: list[tuple[Any, Any]]


def write(file: BinaryIO, image: Any) -> None:
    """Write a ``PIL.Image.Image``.

    Raises:
        TypeError: its metadata hold something that cannot be kept.
    """
    from PIL import Image, PngImagePlugin

    _check_exif(image)
    palette = (
        None
        if image.palette is None
        else (image.palette.mode, bytes(image.getpalette(image.palette.mode)))
    )
    info = [(_plainly(key, "a key"), _plainly(value, key)) for key, value in image.info.items()]
    about = msgspec.msgpack.encode(_About(image.mode, image.size, palette, info))
    data = image.tobytes()
    pixels = image.width * image.height
    mode = _MODES.get(len(data) // pixels) if pixels else None
    if mode is not None and len(data) % pixels == 0:
        drawn = Image.frombytes(mode, image.size, data)
    else:  # eight pixels a byte, or none at all
        drawn = (
            Image.frombytes("L", (len(data) // image.height, image.height), data)
            if data
            else Image.new("L", (1, 1))
        )
    chunks = PngImagePlugin.PngInfo()
    chunks.add(_CHUNK, about)
    drawn.save(file, "PNG", pnginfo=chunks)


def read(file: BinaryIO) -> Any:
    """Read an image; a file that :func:`write` has not written is read as any image file is."""
    from PIL import Image

    found: Any = Image.open(file)
    found.load()
    about = next(
        (data for name, data, *_ in getattr(found, "private_chunks", ()) if name == _CHUNK), None
    )
    if about is None:
        return found.copy()
    said = msgspec.msgpack.decode(about, type=_About)
    image = (
        Image.frombytes(said.mode, said.size, found.tobytes())
        if 0 not in said.size
        else Image.new(said.mode, said.size)
    )
    if said.palette is not None:
        image.putpalette(said.palette[1], said.palette[0])
    image.info = {_back(key): _back(value) for key, value in said.info}
    return image


def _check_exif(image: Any) -> None:
    """EXIF that somebody has changed through ``getexif()`` is in no place that is kept."""
    from PIL import Image

    known = getattr(image, "_exif", None)  # made by getexif()
    if known is None:
        return
    other = Image.new("L", (1, 1))
    other.info = image.info
    if dict(known) != dict(other.getexif()):
        raise TypeError(
            "its EXIF was changed by getexif(), and only image.info is kept: "
            "image.info['exif'] = image.getexif().tobytes()"
        )


def _plainly(value: Any, name: Any) -> Any:
    """One piece of metadata in terms of MessagePack: what that has itself, and pairs of a word and
    what it stands for."""
    if type(value) in (str, int, float, bool, bytes, type(None)):
        return value
    if type(value) in (tuple, list):
        return [type(value).__name__, [_plainly(one, name) for one in value]]
    if type(value) is dict:
        return ["dict", [[_plainly(key, name), _plainly(one, name)] for key, one in value.items()]]
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if kind == "PIL.TiffImagePlugin.IFDRational" and value.denominator:
        return ["ratio", [value.numerator, value.denominator]]
    if kind == "PIL.PngImagePlugin.iTXt":
        return ["iTXt", [str(value), value.lang, value.tkey]]
    raise TypeError(
        f"image.info[{name!r}] is of type {kind}, which cannot be kept: remove it from image.info"
    )


def _back(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    what, parts = value
    if what in ("tuple", "list"):
        return tuple(map(_back, parts)) if what == "tuple" else [_back(one) for one in parts]
    if what == "dict":
        return {_back(key): _back(one) for key, one in parts}
    if what == "iTXt":
        from PIL.PngImagePlugin import iTXt

        return iTXt(*parts)
    from PIL.TiffImagePlugin import IFDRational

    return IFDRational(*parts)
