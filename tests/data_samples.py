"""Pipelines whose steps give each other images, arrays, tables and files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from PIL import Image

from holdfast import Artifact, Keep, each, pipeline, step


@dataclass
class Page:
    """A page with its picture."""

    number: int
    picture: Image.Image


@dataclass
class Scan:
    """What comes in: a file, by reference."""

    name: str
    file: Artifact
    pages: int = 2


@step()
def pages(scan: Scan) -> list[Page]:
    """Pictures in a list of dataclasses."""
    return [
        Page(number, Image.new("RGB", (20 + number, 10), (number, 0, 0)))
        for number in range(scan.pages)
    ]


@step()
async def pixels(page: Page) -> np.ndarray:
    """An array, made on the event loop from a picture made in a worker."""
    return np.asarray(page.picture)


@step()
def untouched(array: Artifact) -> Artifact:
    """The reference alone."""
    assert array.media_type == "application/x-npy"
    return array


@step(runs="threads")
def table(arrays: list[np.ndarray]) -> pa.Table:
    """A table of sums, in a thread."""
    return pa.table(
        {
            "width": [array.shape[1] for array in arrays],
            "red": [int(array[..., 0].max()) for array in arrays],
        }
    )


@step()
def passed(arrays: list[Artifact]) -> list[Artifact]:
    """A list of references."""
    return arrays


@dataclass
class Report:
    """What comes out: references and a number."""

    table: Artifact
    first: Artifact
    file: Artifact
    rows: int


@step()
def report(scan: Scan, found: pa.Table, arrays: list[Artifact], table_itself: Artifact) -> Report:
    """Loads the table, passes on the rest."""
    return Report(table_itself, arrays[0], scan.file, found.num_rows)


def arrays_of(scan: Scan) -> list[np.ndarray]:
    """One task per page."""
    return each(pixels)(pages(scan))


@pipeline(version="1", key=lambda scan: scan.name, keep=Keep(intermediates="1ms"))
def scanned(scan: Scan) -> Report:
    """Every kind of value."""
    arrays = arrays_of(scan)
    found = table(arrays)
    return report(scan, found, passed(arrays), found)  # type: ignore[arg-type]


@pipeline(version="1", key=lambda scan: scan.name, keep=Keep(intermediates="1ms", outputs="1ms"))
def forgotten(scan: Scan) -> list[np.ndarray]:
    """Nothing is kept for long."""
    return arrays_of(scan)
