"""A deploy that moves items checks their stored values first, and leaves those that do not fit
where they are."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, Filter, Pipeline
from holdfast.engine.fitting import NAMED
from tests.deploy_samples import (
    OLD,
    Kind,
    fewer,
    old,
    other_result,
    pays,
    pays_later,
    pays_second,
    pays_strictly,
    renamed,
    required,
    retyped,
    same,
)
from tests.patterns.conftest import Patterns

pytestmark = pytest.mark.slow

DEAD = Filter(pipeline="claims", states=("dead",))


def payload(folder: Path, id: str, **fields: Any) -> Any:
    """A payload of the old version."""
    return OLD(id=id, folder=str(folder), **fields)


def found(app: App, key: str) -> tuple[str, str]:
    """Version and state of an item."""
    with closing(app.reads()) as reads:
        item = reads.item(reads.item_by_key(key) or 0)
    return item["version"], item["state"]


@pytest.mark.parametrize(
    ("version", "fields", "why"),
    [
        (required, {}, "amount"),
        (renamed, {"amount": 3}, "sum"),
        (fewer, {"kind": Kind.FAX}, "fax"),
        (retyped, {"amount": 3}, "amount"),
    ],
    ids=["required", "renamed", "enum", "retyped"],
)
def test_a_payload_that_does_not_fit_stays_where_it_is(
    version: Pipeline[Any, Any], fields: dict[str, Any], why: str, app: App, tmp_path: Path
) -> None:
    fits = {} if version in (fewer, retyped) else {"amount": 1}
    list(
        app.submit_many(
            old, [payload(tmp_path, "bad", **fields), payload(tmp_path, "good", **fits)]
        )
    )
    app.register([version])
    seen = app.fitting(version)
    done = app.take_over(version)
    (misfit, *others) = done.misfits
    assert misfit.key == "bad"
    assert misfit.why.startswith("payload: ")
    assert why in misfit.why
    assert seen.misfits == done.misfits, "the report says beforehand what the move then does"
    assert (seen.checked, seen.of) == (2, 2)
    assert found(app, "bad") == ("1", "queued")
    assert (done.looked_at, done.changed, done.unfit) == (2, 2 - done.unfit, 1 + len(others))
    if version is not renamed:
        assert found(app, "good") == ("2", "queued")


def test_what_fits_goes_on_and_what_does_not_is_still_driven_by_the_old_version(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    list(app.submit_many(old, [payload(tmp_path, "a", amount=1), payload(tmp_path, "b")]))
    app.register([required])
    assert app.take_over(required).unfit == 1
    (tmp_path / "up").touch()
    run(required)
    assert (run.output("a"), found(app, "b")) == ("a by 2", ("1", "queued"))
    run(old)
    assert run.output("b") == "b by 1"


def test_results_that_the_new_version_would_read_are_checked(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(old, payload(tmp_path, "a"), payload(tmp_path, "long"))
    assert {found(app, key) for key in ("a", "long")} == {("1", "dead")}
    app.register([other_result])
    done = app.take_over(other_result, dead=True)
    assert (done.changed, done.unfit) == (0, 2)
    assert {one.why.partition(":")[0] for one in done.misfits} == {"result of read"}, (
        "also the one in the artifact store"
    )
    assert {found(app, key) for key in ("a", "long")} == {("1", "dead")}


def test_a_result_whose_artifact_is_missing_does_not_fit(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(old, payload(tmp_path, "a"), payload(tmp_path, "long"))
    artifacts = [one for one in Path(app.settings.artifacts_place).rglob("*") if one.is_file()]
    assert artifacts
    for one in artifacts:
        one.unlink()
    app.register([same])
    done = app.take_over(same, dead=True)
    assert [(one.key, "missing" in one.why) for one in done.misfits] == [("long", True)]
    (tmp_path / "up").touch()
    run(same)
    assert run.output("a") == "a by 2"
    assert found(app, "long") == ("1", "dead")


def test_an_effect_is_not_repeated_though_its_step_has_another_number(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(pays, payload(tmp_path, "a"))
    app.register([pays_later])
    assert app.take_over(pays_later, dead=True).changed == 1
    (tmp_path / "up").touch()
    with run.runner(pays_later):
        run.wait(lambda: found(app, "a") == ("2", "completed"))
    assert (tmp_path / "charged").read_text() == "a\n"
    assert run.output("a") == "noted and a", "each step has its own effect"


@pytest.mark.parametrize(
    ("version", "fits"), [(pays_second, True), (pays_strictly, False)], ids=["fits", "does-not"]
)
def test_a_corrected_input_goes_along_if_it_fits(
    version: Pipeline[Any, Any], fits: bool, run: Patterns, app: App, tmp_path: Path
) -> None:
    run(pays, payload(tmp_path, "a", amount=1))
    with closing(app.reads()) as reads:
        (dead_letter,) = reads.dead_letters(None, "open", 9)
    app.redrive(
        [dead_letter["dead_letter"]],
        [{"id": "corrected", "folder": str(tmp_path), "kind": "invoice", "amount": None}],
    )
    app.register([version])
    done = app.take_over(version)
    assert (done.changed, done.unfit) == (int(fits), int(not fits))
    if not fits:
        assert done.misfits[0].why.startswith("edited input of pay: ")
        assert found(app, "a")[0] == "1"
        return
    with closing(app.reads()) as reads:
        one = reads.stored(reads.item_by_key("a") or 0)
    assert one is not None
    assert [(node, b"corrected" in arguments) for node, _, arguments in one.edits] == [(1, True)], (
        "under its number in the new version"
    )


def test_many_misfits_are_counted_and_the_first_are_named(app: App, tmp_path: Path) -> None:
    list(
        app.submit_many(
            old, [payload(tmp_path, f"n{n}", amount=None if n % 3 == 0 else n) for n in range(90)]
        )
    )
    app.register([required])
    sampled = app.fitting(required, 10)
    assert (sampled.checked, sampled.of) == (10, 90)
    done = app.take_over(required)
    assert (done.changed, done.unfit, done.looked_at, len(done.misfits)) == (60, 30, 90, NAMED)
    again = app.take_over(required)
    assert (again.changed, again.unfit) == (0, 30), "running it twice has the same effect"


def test_what_changed_since_it_was_checked_is_not_moved(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    """A runner settles a result between the check and the move."""
    run(old, payload(tmp_path, "a"))
    app.register([same])
    with closing(app.reads()) as reads:
        number = reads.item_by_key("a") or 0
        one = reads.stored(number)
    assert one is not None
    move = app._moving("claims", "2", same.bodies())
    import msgspec

    from holdfast.model.changes import Operation

    with closing(app.open_ledger()) as ledger:
        operation = ledger.lifecycle.begin_operation(Operation("move", "a", "anna"), 1)
        stale = msgspec.structs.replace(move, seen={number: (one.generation, one.rows - 1)})
        assert ledger.lifecycle.change(operation, stale, [number], 1) == []
        fresh = msgspec.structs.replace(move, seen={number: (one.generation, one.rows)})
        assert ledger.lifecycle.change(operation, fresh, [number], 1) == [number]
        ledger.lifecycle.end_operation(operation, "done", 1)


def test_items_are_moved_beside_a_live_runner(run: Patterns, app: App, tmp_path: Path) -> None:
    keys = [f"n{n}" for n in range(30)]
    with run.runner(old):
        list(app.submit_many(old, [payload(tmp_path, key) for key in keys]))
        app.register([same])
        app.take_over(same, dead=True)
        run.wait(
            lambda: {state for _, state in (found(app, key) for key in keys)} <= {"dead", "queued"}
        )
        done = app.take_over(same, dead=True)
    assert done.unfit == 0
    (tmp_path / "up").touch()
    assert {found(app, key)[0] for key in keys} == {"2"}
    run(same)
    assert {found(app, key) for key in keys} == {("2", "completed")}
