"""Events: emitted with the transaction that makes them true, handed out once, kept when they do not
fit."""

from __future__ import annotations

import json

import pytest

from holdfast import App, DefinitionError, InputError, emit
from holdfast.model.events import envelope, opened
from holdfast.model.ids import parse
from holdfast.testing import outside
from tests.pattern_samples import Claim, Payment, awaiting, hearing, impatient, telling
from tests.patterns.conftest import Patterns


def test_what_one_pipeline_emits_starts_another_and_wakes_a_third(run: Patterns, app: App) -> None:
    run(awaiting, Claim("x"))
    assert run.state("x")[0] == "waiting"
    run([telling, hearing, awaiting], Claim("x", 50), Claim("y", 5))
    reads = app.reads()
    assert {row["key"] for row in reads.items("hearing", "completed", 9)} == {"x"}, (
        "y is of no interest: where="
    )
    assert reads.deliveries(None, "filtered", 9)[0]["pipeline"] == "hearing"
    told = next(row for row in reads.items("telling", None, 9) if row["key"] == "x")
    heard = reads.item(reads.item_by_key("x") or 0)
    assert heard["correlation"] == told["item"]
    assert json.loads(heard["output"]).split()[1] == told["item"]
    assert next(row for row in reads.items("awaiting", None, 9))["state"] == "completed"
    for item in (told["item"], heard["item"]):
        lineage = reads.lineage(parse(item))
        (event,) = lineage["events"]
        assert (event["type"], event["starts"]) == ("payment.received", [heard["item"]])
        assert [(one["item"], one["pipeline"], one["event"]) for one in lineage["items"]] == [
            (told["item"], "telling", None),
            (heard["item"], "hearing", event["event"]),
        ]


def test_an_event_that_is_faster_than_the_wait_is_not_missed(run: Patterns, app: App) -> None:
    list(app.submit_many(awaiting, [Claim("a")]))
    assert app.publish("payment.received", {"claim": "a", "amount": 7}, key="a")
    run(awaiting)
    assert run.output("a") == "a 7"


def test_an_event_from_before_the_item_does_not_count(run: Patterns, app: App) -> None:
    run(awaiting, Claim("first"))
    app.publish("payment.received", {"claim": "a", "amount": 7}, key="a")
    run(awaiting, Claim("a"))
    assert run.state("a")[0] == "waiting"


def test_the_same_id_twice_is_one_event(run: Patterns, app: App) -> None:
    run(hearing)
    assert app.publish("payment.received", Payment(claim="z", amount=20), id="one") is True
    assert app.publish("payment.received", Payment(claim="z", amount=20), id="one") is False
    run(hearing)
    assert len(app.reads().items("hearing", None, 9)) == 1


def test_data_that_do_not_fit_are_kept_and_can_be_offered_again(run: Patterns, app: App) -> None:
    run([hearing])
    app.publish("payment.received", {"claim": 5})
    run([hearing])
    (refused,) = app.reads().deliveries(None, "refused", 9)
    assert "amount" in refused["reason"]
    assert app.redeliver([refused["delivery"]]) == [refused["delivery"]]
    run([hearing])
    assert len(app.reads().deliveries(None, "refused", 9)) == 1


def test_data_of_a_wrong_type_for_a_wait_are_a_dead_letter(run: Patterns, app: App) -> None:
    run(awaiting, Claim("a"))
    app.publish("payment.received", {"claim": "a", "amount": "lots"}, key="a")
    run(awaiting)
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert dead_letter["error_class"] == "bad-input"


def test_an_event_that_does_not_come_leaves_its_flag(run: Patterns) -> None:
    run(impatient, Claim("a"))
    assert (run.output("a"), run.state("a")[1]) == ("nothing came", ["unpaid"])


def test_a_redrive_does_not_emit_again_what_was_emitted(run: Patterns, app: App) -> None:
    run(telling, Claim("a", 5))
    assert len(app.reads().events("payment.received", None, 9)) == 1
    run(telling, Claim("a", 5))
    assert len(app.reads().events("payment.received", None, 9)) == 1


def test_who_emits_and_who_listens_is_known(run: Patterns, app: App) -> None:
    run([telling, hearing, awaiting])
    assert app.reads().topology() == [
        {
            "event": "payment.received",
            "emits": ["telling"],
            "awaits": ["awaiting"],
            "starts": ["hearing"],
        }
    ]


def test_events_travel_as_cloudevents(run: Patterns, app: App) -> None:
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    run(telling, Claim("a", 5))
    (row,) = app.reads().events(None, None, 9)
    event = app.open_ledger()
    kept = event.mail.outgoing(app.clock.now_ms())
    event.close()
    assert kept == [], "without a broker nothing is handed on"
    from holdfast.model.events import Event

    one = Event(
        row["event"],
        row["type"],
        row["source"],
        row["key"],
        row["at"],
        row["data"],
        row["correlation"],
        row["trace"],
    )
    data = envelope(one, row["data"])
    read = JSONFormat().read(CloudEvent, data)
    assert (read.get_id(), read.get_type(), read.get_subject(), read.get_data()) == (
        one.id,
        one.type,
        "a",
        {"claim": "a", "amount": 5},
    )
    assert opened(data, 0) == one
    with pytest.raises(InputError, match="no CloudEvent"):
        opened(b'{"id": 5}', 0)


def test_plain_python() -> None:
    with outside(events={"payment.received": lambda key: Payment(claim=key, amount=1)}) as world:
        assert awaiting(Claim("a")) == "a 1"
        telling(Claim("b", 3))
    assert [(name, key) for name, _, key in world.emitted] == [("payment.received", "b")]
    assert impatient(Claim("c")) == "nothing came"
    with pytest.raises(DefinitionError, match="event=.not a name. is not allowed"):
        emit("not a name")
