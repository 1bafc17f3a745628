"""``python -m benchmarks.each --elements 100000 --json``: one item whose each has so many elements,
and one with a tenth of them.

``elements_per_s`` and ``elements_per_s_at_10k`` are rates of the whole item (a step that makes the
list, two async steps an element, a step that takes the results); no quadratic step means that they
are close. ``rss_mb`` is the peak of resident memory of the runner, each measured in a process of
its own, ``rss_mb_at_10k`` that with the tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from holdfast import App, each, pipeline, step


@step()
async def numbers(count: int) -> list[int]:
    """The elements."""
    return list(range(count))


@step()
async def halved(number: int) -> float:
    """The first step of an element."""
    return number / 2


@step()
async def rounded(number: float) -> int:
    """The second, without a barrier between them."""
    return round(number)


@step()
async def total(found: list[int]) -> int:
    """What is made of the results."""
    return sum(found)


@pipeline(version="1", key=str)
def elements(count: int) -> int:
    """A list, two eaches in a row, a sum."""
    return total(each(rounded)(each(halved)(numbers(count))))


def measure(count: int, folder: str) -> dict[str, float]:
    """One item with so many elements, in this process."""
    app = App(home=folder, ledger="")
    list(app.submit_many(elements, [count]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    app.run([elements])
    seconds = time.perf_counter() - began
    audit = app.reads().audit(0)
    if not audit["balanced"] or audit["pipelines"]["elements"]["completed"] != 1:
        raise SystemExit(f"the item did not complete: {audit}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rate": count / seconds, "rss_mb": peak / 1024, "grown_mb": (peak - before) / 1024}


def in_a_process(count: int) -> dict[str, float]:
    """Measure in a process of its own, so that memory is that of this item alone."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.each", "--part", str(count)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.each")
    parser.add_argument("--elements", type=int, default=100_000)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON line (there is no other output)"
    )
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part is not None:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            print(json.dumps(measure(arguments.part, folder)))
        return
    tenth = [in_a_process(arguments.elements // 10) for _ in range(3)]
    whole = in_a_process(arguments.elements)
    small = sorted(tenth, key=lambda one: one["rate"])[1]
    print(
        json.dumps(
            {
                "elements_per_s": round(whole["rate"]),
                "elements_per_s_at_10k": round(small["rate"]),
                "ratio": round(whole["rate"] / small["rate"], 3),
                "rss_mb": round(whole["rss_mb"], 1),
                "rss_mb_at_10k": round(small["rss_mb"], 1),
            }
        )
    )


if __name__ == "__main__":
    main()
