"""A value that a step returned is the same for the next one, on both ledgers and in every executor;
or its step is told why not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast import App, DefinitionError, InputError, child, pipeline, step
from holdfast.cli.export import output_of
from holdfast.model import media
from holdfast.model.search import Filter
from tests import value_samples
from tests.value_samples import LOST, REFUSED, SENT, Invoice, Parcel

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", "postgres"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> App:
    """Holdfast on either ledger."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres")
    return App(home=tmp_path / "home", ledger=url, workers=1)


def result(app: App, key: str) -> Any:
    reads = app.reads()
    found = reads.item(reads.item_by_key(key) or 0)
    assert found["state"] == "completed", [
        (one["step"], one["state"], one.get("message")) for one in found["timeline"]
    ]
    return json.loads(output_of(found["output"], app.store()))


def test_every_kind_of_value_survives_processes_threads_and_the_loop(app: App) -> None:
    app.run(list(SENT.values()), [(one, name) for name, one in SENT.items()])
    assert {name: result(app, name) for name in SENT} == dict.fromkeys(SENT, "the same")


def test_what_would_be_changed_is_refused_by_step_field_and_type(app: App) -> None:
    app.run(list(LOST.values()), [(one, name) for name, one in LOST.items()])
    dead_letters = {
        one["pipeline"].removeprefix("lost-"): one
        for one in app.reads().dead_letters(None, "open", 99)
    }
    assert set(dead_letters) == set(LOST)
    for name, (_, _, said) in REFUSED.items():
        dead_letter = dead_letters[name]
        assert (dead_letter["error_class"], dead_letter["error"]) == (
            "bug",
            "holdfast.errors.ResultError",
        ), name
        assert dead_letter["message"].startswith("step 'give' returned something that is not a "), (
            dead_letter["message"]
        )
        assert re.search(said, dead_letter["message"]), (name, dead_letter["message"])
    assert app.reads().audit(0)["balanced"]


def test_an_effect_whose_result_cannot_be_kept_is_not_repeated(app: App, tmp_path: Path) -> None:
    app.run([value_samples.paying], [(value_samples.paying, str(tmp_path))])
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert (
        dead_letter["error_class"],
        "kind=" in dead_letter["message"],
        "of type tests.value_samples.Leaf" in dead_letter["message"],
    ) == ("bug", True, True)
    assert (tmp_path / "paid").read_text() == "paid\n", (
        "it has been done once, whatever number of attempts there were"
    )


def test_an_effect_whose_type_is_said_comes_back_as_that(app: App, tmp_path: Path) -> None:
    app.run([value_samples.paying_typed], [(value_samples.paying_typed, str(tmp_path))])
    assert result(app, str(tmp_path)) == "Leaf"


@pytest.mark.parametrize(
    "answer",
    [
        Invoice.model_validate({"invoiceNumber": "R-1", "totalAmount": 2.5}),
        {"number": "R-1", "total": 2.5},
    ],
)
def test_a_form_with_aliases_is_answered_as_a_model_or_by_its_fields(app: App, answer: Any) -> None:
    app.run([value_samples.answered], [(value_samples.answered, "a")])
    (found,) = app.reviews()
    assert app.decide(found["review"], answer, found["digest"], "anna") == "decided"
    app.run([value_samples.answered])
    assert result(app, "a") == "R-1 2.5"


def test_an_answer_that_json_would_change_is_refused(app: App) -> None:
    app.run([value_samples.answered], [(value_samples.answered, "a")])
    (found,) = app.reviews()
    with pytest.raises(InputError, match=r"\$\.total is nan"):
        app.decide(
            found["review"], {"number": "R-1", "total": float("nan")}, found["digest"], "anna"
        )


def test_fields_are_found_under_the_names_that_they_are_stored_by(app: App) -> None:
    with media.using(app.store()):
        parcel = Parcel("a", np.zeros((2, 3)))
        app.run([value_samples.shaped], [(value_samples.shaped, parcel)])
    assert result(app, "a") == [2, 3]
    found = app.reads().search(Filter(fields=(("parcel_id", "a"),)), 9, app.clock.now_ms())
    assert [one["key"] for one in found] == ["a"]


@pytest.mark.parametrize(
    "payload", [Invoice(invoiceNumber="R-1"), {"invoiceNumber": "R-1"}, {"number": "R-1"}]
)
def test_constants_and_defaults_are_what_the_source_says(app: App, payload: Any) -> None:
    app.run([value_samples.constants], [(value_samples.constants, payload)])
    expected = value_samples.constants(Invoice(invoiceNumber="R-1"))
    assert result(app, "R-1") == expected
    assert expected == "R-1-('a', 'b')datetime.datetime(2024, 1, 1, 0, 0) 1 5"


def test_an_edited_input_that_would_be_changed_is_refused(app: App) -> None:
    app.run([LOST["tuple"]], [(LOST["tuple"], "a")])
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    with pytest.raises(InputError, match=r"\$ is nan"):
        app.redrive([dead_letter["dead_letter"]], [float("nan")])


@pytest.mark.parametrize("given", [[], ["a", "b"]])
def test_an_edited_input_of_another_length_is_bad_input(given: list[Any], app: App) -> None:
    app.run([LOST["tuple"]], [(LOST["tuple"], "a")])
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    app.redrive([dead_letter["dead_letter"]], given)
    app.run([LOST["tuple"]])
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert dead_letter["error_class"] == "bad-input"
    assert (
        f"the edited input of step 'give' has {len(given)} arguments, and it takes 1"
        in dead_letter["message"]
    )


def test_a_payload_that_a_child_would_read_as_another_type_is_refused_where_it_is_declared() -> (
    None
):
    @step()
    def make(key: str) -> value_samples.Special:
        return value_samples.Special(1)

    inner = value_samples.counted

    with pytest.raises(
        DefinitionError, match=r"child\(counted\) reads its payload as Leaf, and is given Special"
    ):

        @pipeline(version="1", key=str)
        def outer(key: str) -> int:
            return child(inner)(make(key))
