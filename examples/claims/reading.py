"""Step 3, reading: the text that is embedded, or OCR (PP-OCRv6 by RapidOCR)."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pypdfium2 as pdfium

from holdfast import BadInputError

from .types import Document, Line, Page, Text

THREADS = 1


class Reader:
    """OCR of one page. Built once per worker: the two networks take a second to load."""

    def __init__(self) -> None:
        logging.getLogger("RapidOCR").setLevel(logging.ERROR)
        from rapidocr import RapidOCR

        self._engine = RapidOCR(
            params={
                "EngineConfig.onnxruntime.intra_op_num_threads": THREADS,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "Det.limit_type": "max",
                "Det.limit_side_len": 1280,
                "Global.log_level": "error",
            }
        )

    def __call__(self, page: Page) -> Text:
        """The lines of a page, from the top down."""
        pixels = cv2.imdecode(np.frombuffer(page.jpeg, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise BadInputError(f"page {page.number + 1} cannot be decoded")
        found = self._engine(pixels)
        if found.boxes is None or found.txts is None or found.scores is None:
            raise BadInputError(f"no text was found on page {page.number + 1}")
        height, width = pixels.shape[:2]
        lines = []
        for box, text, score in zip(found.boxes, found.txts, found.scores, strict=True):
            xs, ys = box[:, 0] / width, box[:, 1] / height
            lines.append(
                Line(
                    text,
                    page.number,
                    float(xs.min()),
                    float(ys.min()),
                    float(xs.max()),
                    float(ys.max()),
                    min(float(score), 1.0),
                )
            )
        return Text(in_rows(lines))


def read_embedded(document: Document) -> Text:
    """The text that a digital PDF carries, line by line with boxes."""
    pdf = pdfium.PdfDocument(document.content)
    try:
        lines = []
        for number in range(document.pages):
            page = pdf[number]
            width, height = page.get_size()
            words = page.get_textpage()
            for index in range(words.count_rects()):
                left, bottom, right, top = words.get_rect(index)
                text = words.get_text_bounded(left, bottom, right, top).strip()
                if text:
                    lines.append(
                        Line(
                            text,
                            number,
                            left / width,
                            1 - top / height,
                            right / width,
                            1 - bottom / height,
                        )
                    )
    finally:
        pdf.close()
    return Text(in_rows(lines))


def join_pages(pages: list[Text]) -> Text:
    """The pages' lines, one after the other."""
    lines = [line for page in pages for line in page.lines]
    if sum(len(line.text) for line in lines) < 40:
        raise BadInputError("there is hardly any legible text")
    return Text(lines)


def in_rows(lines: list[Line]) -> list[Line]:
    """Join boxes that stand beside each other into rows, from the top down."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda one: (one.page, one.y0 + one.y1)):
        middle = (line.y0 + line.y1) / 2
        if rows and rows[-1][0].page == line.page and rows[-1][-1].y0 < middle < rows[-1][-1].y1:
            rows[-1].append(line)
        else:
            rows.append([line])
    joined = []
    for row in rows:
        row.sort(key=lambda one: one.x0)
        joined.append(
            Line(
                " ".join(one.text for one in row),
                row[0].page,
                row[0].x0,
                min(one.y0 for one in row),
                row[-1].x1,
                max(one.y1 for one in row),
                min(one.confidence for one in row),
            )
        )
    return joined
