"""A task that is suspected of its runner's death stays suspected, whatever it waits for
meanwhile."""

from __future__ import annotations

import pytest

from holdfast import pipeline, step
from holdfast.core.decide import SUSPECT
from holdfast.core.restore import begin, fresh, restore
from holdfast.model.claimed import Claimed
from holdfast.model.task import LiveTask


@step()
async def polled(number: int) -> int:
    """One step in the event loop."""
    return number


@pipeline(version="1", key=str)
def polling(number: int) -> int:
    """Nothing else."""
    return polled(number)


@pytest.mark.parametrize(
    ("live", "suspect"),
    [
        (LiveTask(0, "", "retrying", 1, suspect=SUSPECT, wake_at=90_000), SUSPECT),
        (LiveTask(0, "", "retrying", 1, suspect=SUSPECT, wake_at=10), SUSPECT),
        (LiveTask(0, "", "running", 1), 1),
        (LiveTask(0, "", "retrying", 1, wake_at=90_000), 0),
    ],
)
def test_what_was_suspected_before_a_claim_is_suspected_after_it(
    live: LiveTask, suspect: int
) -> None:
    claimed = Claimed(1, 2, 1, "17", 1, b"17", 0, None, [])
    claimed.live.append(live)
    run = fresh(claimed, polling)
    restore(run, claimed)
    begin(run, 1_000)
    assert (run.suspects, run.live[0, ""].suspect) == (suspect > 0, suspect)
