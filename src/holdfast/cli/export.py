"""Writing outputs of completed items to a folder: one JSON file an item, named by its id."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from holdfast.app import App
from holdfast.errors import InputError


def export_outputs(app: App, pipeline: str, folder: Path) -> int:
    """Write every completed item's output, replacing existing files whole. Returns how many.

    Raises:
        InputError: the folder cannot be written.
    """
    reads, store = app.reads(), app.stored()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rows = reads.items(pipeline, "completed", 10_000_000)
        for row in rows:
            output = output_of(reads.item_output(row["item"]), store)
            temporary = folder / f".{row['item']}.new"
            temporary.write_bytes(output)
            os.replace(temporary, folder / f"{row['item']}.json")
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from None
    finally:
        reads.close()
    return len(rows)


def output_of(value: Any, store: Any) -> bytes:
    """The JSON bytes of an output, wherever they lie."""
    if value is None:
        return b"null"
    return value if isinstance(value, bytes) else bytes(store.fetch(value))
