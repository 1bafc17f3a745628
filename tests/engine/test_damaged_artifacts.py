"""An item whose artifacts are missing is let go and tried again later; it neither hangs nor takes others along."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from holdfast import App, each, pipeline
from tests.pattern_samples import added, odd


@dataclass
class Numbers:
    """A payload whose list the engine itself reads."""

    id: str
    values: list[int]


@pipeline(version="1", key=lambda numbers: numbers.id)
def counted(numbers: Numbers) -> int:
    """An each over a part of the payload."""
    return added(each(odd)(numbers.values))


def test_an_item_without_its_artifact_waits_and_the_others_end(app: App) -> None:
    list(app.submit(counted, [Numbers("large", [1] * 50_000), Numbers("small", [1, 2])]))
    (artifact,) = Path(app.settings.artifacts_place).glob("??/*")
    artifact.unlink()
    ticks = 0

    def tick(session: object) -> None:
        nonlocal ticks
        ticks += 1
        if ticks > 40:
            session.stop_now()  # type: ignore[attr-defined]

    app.run([counted], until_idle=False, each_tick=tick)
    reads = app.reads()
    assert {row["key"]: row["state"] for row in reads.items(None, None, 9)} == {"large": "waiting", "small": "completed"}
    assert reads.item(reads.item_by_key("large") or 0)["wake_at"] > app.clock.now_ms(), "it is claimed again by itself"
    assert reads.audit(0)["balanced"]
