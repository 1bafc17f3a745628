"""``python -m benchmarks.batching --json``: a real ONNX model (text direction, from rapidocr's
package) under dynamic batching.

``overhead`` is how much longer Holdfast takes, with every element an item of its own, than the bare
loop over the same batches in a process of its own; ``gain`` is the rate of the batched step over
that of the same model called for one element at a time. One worker, one thread in the model; pairs
are interleaved, the medians compared. ``bare_gain`` is what batching gives the bare loop: a small
model on a CPU gains little in itself; what it gains is orchestration that is shared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from holdfast import App, Batch, Failed, pipeline, step

SIZE = 16


class Direction:
    """Whether a line of text stands on its head, for a picture drawn from a number."""

    def __init__(self) -> None:
        import onnxruntime
        import rapidocr

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = os.path.join(
            os.path.dirname(rapidocr.__file__), "models", "ch_ppocr_mobile_v2.0_cls_mobile.onnx"
        )
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, numbers: list[int]) -> list[int | Failed]:
        """One verdict per picture."""
        import numpy

        pictures = numpy.stack(
            [
                numpy.random.default_rng(number).random((3, 48, 192), dtype=numpy.float32)
                for number in numbers
            ]
        )
        (scores,) = self._session.run(None, {"x": pictures})
        return [int(row.argmax()) for row in scores]


class Single:
    """The same for one element."""

    def __init__(self) -> None:
        self._model = Direction()

    def __call__(self, number: int) -> int:
        """One picture."""
        (verdict,) = self._model([number])
        assert isinstance(verdict, int)
        return verdict


together = step.batched(Direction, batch=Batch(size=SIZE, wait="20ms"), name="direction")
alone = step.of(Single, name="direction_alone")


@pipeline(version="1", key=str)
def batched(number: int) -> int:
    """Batches across items."""
    return together(number)


@pipeline(version="1", key=str)
def unbatched(number: int) -> int:
    """One call an item."""
    return alone(number)


def bare(count: int, size: int) -> float:
    """Seconds of the loop alone, in this process."""
    model = Direction()
    model(list(range(size)))
    began = time.perf_counter()
    for start in range(0, count, size):
        model(list(range(start, min(start + size, count))))
    return time.perf_counter() - began


def in_a_process(count: int, size: int) -> float:
    """The same in a process of its own, as Holdfast's workers are."""
    command = [sys.executable, "-m", "benchmarks.batching", "--bare", f"{count},{size}"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def durable(which: Any, count: int, folder: str) -> float:
    """Seconds from the first settlement to the last, so that neither side is charged for loading
    the model."""
    app = App(home=folder, ledger="", workers=1)
    list(app.submit_many(which, range(count)))
    app.run([which])
    reads = app.reads()
    audit = reads.audit(0)
    if not audit["balanced"] or audit["pipelines"][which.name]["completed"] != count:
        raise SystemExit(f"the run did not complete: {audit}")
    ends = sorted(row[0] for row in reads._query("select ended_at from tasks", ()))
    reads.close()
    first = min(SIZE, count) if which is batched else 1
    return float((ends[-1] - ends[first - 1]) / 1000 * count / (count - first))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batching")
    parser.add_argument("--items", type=int, default=4_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON line (there is no other output)"
    )
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare is not None:
        count, size = map(int, arguments.bare.split(","))
        print(bare(count, size))
        return
    rows = []
    for _ in range(arguments.pairs):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            rows.append(
                (
                    in_a_process(arguments.items, SIZE),
                    durable(batched, arguments.items, f"{folder}/batched"),
                    durable(unbatched, arguments.items // 4, f"{folder}/unbatched") * 4,
                    in_a_process(arguments.items // 4, 1) * 4,
                )
            )
    loop, ours, singly, loop_singly = (
        statistics.median(column) for column in zip(*rows, strict=True)
    )
    print(
        json.dumps(
            {
                "bare_per_s": round(arguments.items / loop),
                "batched_per_s": round(arguments.items / ours),
                "unbatched_per_s": round(arguments.items / singly),
                "gain": round(singly / ours, 3),
                "bare_gain": round(loop_singly / loop, 3),
                "overhead": round(ours / loop - 1, 4),
                "batch": SIZE,
            }
        )
    )


if __name__ == "__main__":
    main()
