"""An item whose artifacts are missing is dead, and says which; it neither hangs nor takes others
along, and goes on when they are back."""

from __future__ import annotations

from contextlib import closing
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


def test_an_item_without_its_artifact_is_dead_and_goes_on_when_it_is_back(app: App) -> None:
    list(app.submit_many(counted, [Numbers("large", [1] * 50_000), Numbers("small", [1, 2])]))
    (artifact,) = Path(app.settings.artifacts_place).glob("??/*")
    kept = artifact.read_bytes()
    artifact.unlink()
    app.run([counted])
    with closing(app.reads()) as reads:
        assert {row["key"]: row["state"] for row in reads.items(None, None, 9)} == {
            "large": "dead",
            "small": "completed",
        }
        (dead_letter,) = reads.dead_letters(None, "open", 9)
        assert dead_letter["error_class"] == "bad-input"
        assert artifact.parent.name + artifact.name in dead_letter["message"]
        assert reads.audit(0)["balanced"]
    artifact.write_bytes(kept)
    app.redrive([dead_letter["dead_letter"]])
    app.run([counted])
    with closing(app.reads()) as reads:
        assert {row["key"]: row["state"] for row in reads.items(None, None, 9)} == {
            "large": "completed",
            "small": "completed",
        }
