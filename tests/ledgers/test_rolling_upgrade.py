"""Two releases of the code at once on one ledger, as during a rolling upgrade: each serves its own
version, and nothing strands."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from holdfast import App, pipeline, step

pytestmark = pytest.mark.slow


@step()
async def old(number: int) -> str:
    """What the release before did."""
    return f"old {number}"


@step()
async def new(number: int) -> str:
    """What this release does."""
    return f"new {number}"


@pipeline(version="1", name="numbers", key=str)
def before(number: int) -> str:
    """The release before."""
    return old(number)


@pipeline(version="2", name="numbers", key=str)
def after(number: int) -> str:
    """This release."""
    return new(number)


def test_items_stay_with_the_version_that_admitted_them(tmp_path: Path, postgres: str) -> None:
    apps = [App(home=tmp_path / name, ledger=postgres, workers=1) for name in ("before", "after")]
    for number in range(40):
        list(apps[number % 2].submit_many(before if number % 2 == 0 else after, [number]))
    done = [
        threading.Thread(target=app.run, args=([one],))
        for app, one in zip(apps, (before, after), strict=True)
    ]
    for thread in done:
        thread.start()
    for thread in done:
        thread.join()
    reads = apps[0].reads()
    (row,) = reads.status()
    assert (row["completed"], reads.audit(0)["balanced"]) == (40, True)
    outputs = {
        one["key"]: reads.item(reads.item_by_key(one["key"]) or 0)["output"]
        for one in reads.items(None, None, 99)
    }
    assert outputs == {
        str(n): f'"{"old" if n % 2 == 0 else "new"} {n}"'.encode() for n in range(40)
    }


def test_what_the_old_release_left_is_waiting_for_it_and_not_stranded(
    tmp_path: Path, postgres: str
) -> None:
    app = App(home=tmp_path, ledger=postgres, workers=1)
    list(app.submit_many(before, [1]))
    app.run([after], [(after, 2)])
    assert {one["key"]: one["state"] for one in app.reads().items(None, None, 9)} == {
        "1": "queued",
        "2": "completed",
    }
    app.run([before])
    assert {one["state"] for one in app.reads().items(None, None, 9)} == {"completed"}
