"""Steps 1 and 2: ingestion (what is it, can it be read?) and format conversion (pages as upright
gray images)."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pypdfium2 as pdfium
from PIL import Image

from holdfast import BadInputError

from .types import Document, Page, Upload

DPI = 150
MAX_PIXELS = 40_000_000
MAX_PAGES = 50
MAX_BYTES = 32 * 1024 * 1024
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def ingest_file(upload: Upload) -> Document:
    """Recognise a file by its bytes, never by its name, and open it once."""
    data = upload.content
    if not data:
        raise BadInputError("the file is empty")
    if len(data) > MAX_BYTES:
        raise BadInputError(f"the file has {len(data):,} bytes; at most {MAX_BYTES:,} are taken")
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return _pdf(upload.name, data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _image(upload.name, data, "image/png")
    if data.startswith(b"\xff\xd8\xff"):
        return _image(upload.name, data, "image/jpeg")
    raise BadInputError("neither a PDF nor a PNG or JPEG image")


def _pdf(name: str, data: bytes) -> Document:
    try:
        pdf = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        what = (
            "is encrypted: ask for it without a password"
            if "assword" in str(error)
            else f"is damaged ({error})"
        )
        raise BadInputError(f"the PDF {what}") from None
    try:
        pages = len(pdf)
        if not 1 <= pages <= MAX_PAGES:
            raise BadInputError(f"the PDF has {pages} pages; from 1 to {MAX_PAGES} are taken")
        letters = 0
        for number in range(pages):
            width, height = pdf[number].get_size()
            if width * height * (DPI / 72) ** 2 > MAX_PIXELS:
                raise BadInputError(
                    f"page {number + 1} is enormous: {width / 72:.0f} by {height / 72:.0f} inches"
                )
            letters += pdf[number].get_textpage().count_chars()
    except pdfium.PdfiumError as error:
        raise BadInputError(f"the PDF is damaged ({error})") from None
    finally:
        pdf.close()
    return Document(
        name, "application/pdf", "digital" if letters >= 40 * pages else "scanned", pages, data
    )


def _image(name: str, data: bytes, media: str) -> Document:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.verify()
    except Image.DecompressionBombError:
        raise BadInputError("the image is enormous") from None
    except Exception as error:
        raise BadInputError(f"the image is damaged ({error})") from None
    return Document(name, media, "scanned", 1, data)  # type: ignore[arg-type]


def render(document: Document, number: int) -> np.ndarray:
    """A page as gray pixels at 150 dots per inch."""
    if document.media == "application/pdf":
        pdf = pdfium.PdfDocument(document.content)
        try:
            pixels = pdf[number].render(scale=DPI / 72, grayscale=True).to_numpy().copy()
            return pixels if pixels.ndim == 2 else pixels[:, :, 0]
        finally:
            pdf.close()
    pixels = cv2.imdecode(np.frombuffer(document.content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise BadInputError("the image cannot be decoded")
    longest = max(pixels.shape)
    return (
        pixels
        if longest <= 2_000
        else cv2.resize(
            pixels, None, fx=2_000 / longest, fy=2_000 / longest, interpolation=cv2.INTER_AREA
        )
    )


def convert_pages(document: Document) -> list[Page]:
    """All pages as upright gray JPEGs."""
    pages = []
    for number in range(document.pages):
        upright = straighten(render(document, number))
        _, jpeg = cv2.imencode(".jpg", upright, [cv2.IMWRITE_JPEG_QUALITY, 88])
        pages.append(Page(number, jpeg.tobytes()))
    return pages


def straighten(pixels: np.ndarray) -> np.ndarray:
    """Turn lying pages and mend a skew of up to five degrees, found where the rows of ink are
    sharpest."""
    small = cv2.resize(
        pixels,
        None,
        fx=600 / max(pixels.shape),
        fy=600 / max(pixels.shape),
        interpolation=cv2.INTER_AREA,
    )
    ink = (small < np.median(small) * 0.75).astype(np.float32)
    if _sharpness(ink.T) > 1.3 * _sharpness(ink):
        return straighten(cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE))
    angles = np.arange(-5.0, 5.01, 0.5)
    best = max(angles, key=lambda angle: _sharpness(_turn(ink, float(angle), 0.0)))
    return _turn(pixels, float(best), 255.0) if abs(best) >= 0.5 else pixels


def _sharpness(ink: np.ndarray) -> float:
    return float(np.square(np.diff(ink.sum(axis=1))).sum())


def _turn(pixels: np.ndarray, degrees: float, fill: float) -> np.ndarray:
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=fill)
