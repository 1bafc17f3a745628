"""A cached step runs once for one body and one input, over items, pipelines and versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import App, step
from holdfast.errors import DefinitionError
from tests.lifecycle.conftest import Patterns
from tests.lifecycle.test_pausing import number
from tests.lifecycle_samples import Job, essays, pricing
from tests.patterns.test_data import age

pytestmark = pytest.mark.slow


def test_a_result_is_taken_from_the_cache(
    run: Patterns, app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "priced"
    monkeypatch.setenv("HOLDFAST_TEST_PRICED", str(runs))
    run(pricing, Job("a", str(tmp_path), amount=5))
    run(pricing, Job("b", str(tmp_path), amount=5), Job("c", str(tmp_path), amount=6))
    assert runs.read_text() == "xx", "once for 5, once for 6"
    assert [run.output(key) for key in "abc"] == [15, 15, 18]
    (taken,) = [one for one in run.item("b")["timeline"] if one["step"] == "priced"]
    assert taken["attempt"] == 0, "no attempt was made"
    app.restart([number(app, Job("a", ""))])
    run(pricing)
    assert runs.read_text() == "xx"
    assert run.item("a")["generation"] == 2
    assert run.output("a") == 15


def test_what_only_the_cache_refers_to_is_kept(run: Patterns, app: App) -> None:
    run(essays, Job("a", "", amount=1))
    age(app)
    assert app.purge([essays]) == 1, "the item no longer refers to it"
    assert app.collect(3600.0).orphans == 0
    run(essays, Job("b", "", amount=1))
    assert run.output("b") == 100_000
    (taken,) = [one for one in run.item("b")["timeline"] if one["step"] == "essay"]
    assert taken["attempt"] == 0, "from the cache"


def test_a_result_whose_artifact_was_lost_is_made_anew(run: Patterns, app: App) -> None:
    run(essays, Job("a", "", amount=1))
    lost = [path for path in Path(app.settings.artifacts_place).rglob("*") if path.is_file()]
    assert lost
    for path in lost:
        path.unlink()
    run(essays, Job("b", "", amount=1))
    (made,) = [one for one in run.item("b")["timeline"] if one["step"] == "essay"]
    assert (made["state"], made["attempt"]) == ("succeeded", 1)
    run(essays, Job("c", "", amount=1))
    (taken,) = [one for one in run.item("c")["timeline"] if one["step"] == "essay"]
    assert taken["attempt"] == 0, "and known again"
    assert run.state("c")[0] == "completed"


def test_what_runners_served_that_are_over_is_forgotten(run: Patterns, app: App) -> None:
    for key in "abc":
        run(essays, Job(key, "", amount=1))
    assert len(app.reads()._query("select * from serving", ())) == 1


def test_what_has_effects_is_not_cached() -> None:
    with pytest.raises(DefinitionError, match="cache=True is for steps without effects"):

        @step(cache=True, effects="unsafe")
        async def paid(amount: int) -> int:
            return amount
