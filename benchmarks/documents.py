"""``python -m benchmarks.documents --json``: the claims pipeline against a bare ``multiprocessing``
loop over the same functions and files.

Same worker count, same ONNX threads, warm models on both sides: each side first runs a few
documents that do not count, in the processes that are then timed. In turns, so that a noisy machine
hurts both; the ratio is of medians.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.told import tell
from examples.claims.classify import by_keywords
from examples.claims.generate import documents
from examples.claims.ingest import convert_pages, ingest_file
from examples.claims.pipeline import claims, structure
from examples.claims.reading import join_pages, read_embedded
from examples.claims.types import Record, Upload
from holdfast import HoldfastError
from holdfast.app import App, version_spec
from holdfast.engine.intake import Intake
from holdfast.session import Session

WORKERS = 2
_models: dict[str, Any] = {}


def bare(upload: Upload) -> Record | str:
    """The seven functions in a row, as one would write them without an orchestrator."""
    try:
        document = ingest_file(upload)
        text = (
            read_embedded(document)
            if document.source == "digital"
            else join_pages([_models["ocr"](page) for page in convert_pages(document)])
        )
        regions = _models["layout"](document)
        found = _models["tagger"](text)
        try:
            classified = _models["classifier"](text)
        except HoldfastError:
            classified = by_keywords(text)
        return structure(document, text, found, classified, regions)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def load() -> None:
    """Load the models once per process."""
    from examples.claims.classify import Classifier
    from examples.claims.entities import Tagger
    from examples.claims.layout import LayoutModel
    from examples.claims.reading import Reader

    _models.update(ocr=Reader(), layout=LayoutModel(), tagger=Tagger(), classifier=Classifier())


class Bare:
    """A pool with warm models."""

    def __init__(self, warm: list[Upload]) -> None:
        self._pool = multiprocessing.get_context("spawn").Pool(WORKERS, load)
        self._pool.map(bare, warm, chunksize=1)

    def seconds(self, uploads: list[Upload]) -> float:
        """Time over the documents."""
        began = time.perf_counter()
        for _ in self._pool.imap_unordered(bare, uploads, chunksize=1):
            pass
        return time.perf_counter() - began

    def close(self) -> None:
        """End the pool."""
        self._pool.terminate()


async def holdfast_rounds(
    home: Path, warm: list[Upload], rounds: list[list[Upload]], turn: Any
) -> list[float]:
    """One session with warm workers; each round is admitted and driven to its end, the bare side in
    between."""
    import asyncio

    app = App(home=home, workers=WORKERS)
    ledger = app.open_ledger()
    loaded = [(claims, ledger.register(version_spec(claims), app.clock.now_ms()))]
    session = Session(app.settings, ledger, app.store(), app.clock, loaded, random.Random(1), None)
    running = asyncio.create_task(
        session.run(Intake(iter(())), lambda receipts: None, False, lambda: None)
    )
    await asyncio.sleep(0.3)
    took = []
    for number, uploads in enumerate([warm, *rounds]):
        if number:
            await asyncio.to_thread(turn)
        left = len(uploads)
        done = asyncio.Event()

        def ended(item: int, state: str) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        tell(session, ended)
        began = time.perf_counter()
        batches = app.submissions(
            claims, [Upload(f"{number}/{one.name}", one.content) for one in uploads], ""
        )
        for one in batches:
            await session.admit([one])
            session.runner.hint()
        await done.wait()
        if number:
            took.append(time.perf_counter() - began)
    session.stop_now()
    await running
    ledger.close()
    return took


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.documents")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of turns, at least three")
    parser.add_argument("--digital", type=int, default=12)
    parser.add_argument("--scanned", type=int, default=8)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON line (there is no other output)"
    )
    arguments = parser.parse_args()
    made = [upload for upload, _ in documents(5, arguments.digital, arguments.scanned)]
    warm = [upload for upload, _ in documents(6, 2, 4)]
    pool = Bare(warm)
    times: list[float] = []
    import uvloop

    with tempfile.TemporaryDirectory(dir=".") as folder:
        rounds = [made] * arguments.rounds
        took = uvloop.run(
            holdfast_rounds(Path(folder), warm, rounds, lambda: times.append(pool.seconds(made)))
        )
    pool.close()
    bare_s, holdfast_s = statistics.median(times), statistics.median(took)
    print(
        json.dumps(
            {
                "bare_s": round(bare_s, 2),
                "holdfast_s": round(holdfast_s, 2),
                "overhead": round(holdfast_s / bare_s - 1, 4),
                "rounds": [[round(a, 2), round(b, 2)] for a, b in zip(times, took, strict=True)],
                "documents": len(made),
            }
        )
    )


if __name__ == "__main__":
    main()
