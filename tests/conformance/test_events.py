"""What every ledger must do with events: who an event is, who takes it, and what waits for whom."""

from __future__ import annotations

import msgspec
import pytest

from holdfast.errors import NotFoundError
from holdfast.ledger import Ledger, VersionSpec
from holdfast.model.events import MALFORMED, Event, kept_instead
from holdfast.model.item import Submission
from holdfast.model.values import Stored
from tests.conformance.test_ledger import NOW

SHAPE = [{"name": "s", "kind": "step"}]


def event(
    name: str,
    source: str = "elsewhere",
    kind: str = "paid",
    data: bytes = b"1",
    key: str = "",
    at: int = NOW,
) -> Event:
    return Event(name, kind, source, key, at, data, received_at=NOW)


def version(ledger: Ledger, label: str, *listens: str) -> int:
    return ledger.register(VersionSpec("orders", label, "f", SHAPE, {}, listens), NOW).version


def runner(ledger: Ledger, versions: dict[int, tuple[str, ...]]) -> int:
    incarnation = ledger.begin("host", 1, NOW, 600_000)
    ledger.health.serve(incarnation, versions)
    return incarnation


def submission(key: str, label: str) -> Submission:
    return Submission("orders", label, key, msgspec.json.encode(key), None)


def test_source_and_id_name_an_event(ledger: Ledger) -> None:
    assert ledger.mail.publish(
        [event("42"), event("42", "somebody else"), event("42"), event("42", kind="refunded")]
    ) == [
        "new",
        "new",
        "same",
        "conflict",
    ]
    assert ledger.mail.publish([event("42", data=b" 1 ")]) == ["same"], "the same JSON"
    assert ledger.mail.publish([event("42", data=b"2"), event("42", key="k")]) == [
        "conflict",
        "conflict",
    ]
    assert ledger.mail.publish([event("43", data=b"1")]) == ["new"]


def test_ids_and_sources_of_every_length_that_is_allowed_are_kept(ledger: Ledger) -> None:
    longest = "\U0001f600" * 250
    assert ledger.mail.publish(
        [event(longest, longest), event(longest, longest), event(longest, longest[:-1] + "x")]
    ) == ["new", "same", "new"]


def test_subscriptions_belong_to_versions(ledger: Ledger) -> None:
    new = version(ledger, "2", "paid")
    runner(ledger, {new: ("paid",)})
    old = version(ledger, "3")
    ledger.mail.publish([event("a")])
    assert ledger.mail.distribute(NOW) == 1
    (delivery,) = ledger.mail.deliveries([old, new], NOW)
    assert (delivery.version, delivery.event.id, delivery.event.source) == (new, "a", "elsewhere")


def test_a_release_of_the_same_version_beside_it_takes_nothing_away_and_alone_it_does(
    ledger: Ledger,
) -> None:
    label = version(ledger, "2", "paid", "refunded")
    first = runner(ledger, {label: ("paid", "refunded")})
    version(ledger, "2")
    if ledger.shared:  # on a file the second runner only comes when the first has gone
        runner(ledger, {label: ()})
        ledger.mail.publish([event("a"), event("b", kind="refunded")])
        ledger.mail.distribute(NOW)
        assert len(ledger.mail.deliveries([label], NOW)) == 2
    ledger.end(first, NOW)
    runner(ledger, {label: ("paid",)})
    assert ledger.mail.unsubscribe("orders", "2", []).types == (
        ["paid", "refunded"] if ledger.shared else ["paid"]
    )


def test_the_newest_version_that_listens_and_has_a_runner_takes_a_delivery_and_one_becomes_one_item(
    ledger: Ledger,
) -> None:
    one, two = version(ledger, "1", "paid"), version(ledger, "2", "paid")
    ledger.mail.publish([event("a"), event("b")])
    ledger.mail.distribute(NOW)
    assert [found.version for found in ledger.mail.deliveries([one], NOW)] == [one, one], (
        "the other has no runner"
    )
    runner(ledger, {two: ("paid",)})
    assert ledger.mail.deliveries([one], NOW) == []
    found = ledger.mail.deliveries([one, two], NOW)
    assert [one_.version for one_ in found] == [two, two]
    assert ledger.mail.accept(found[0].delivery, submission("a", "2"), NOW)
    assert not ledger.mail.accept(found[0].delivery, submission("a", "2"), NOW), (
        "another runner was faster"
    )
    assert [one_.event.id for one_ in ledger.mail.deliveries([two], NOW)] == ["b"]


def test_what_does_not_fit_an_old_version_waits_for_the_newest(ledger: Ledger) -> None:
    one, two = version(ledger, "1", "paid"), version(ledger, "2", "paid")
    runner(ledger, {one: ("paid",)})
    ledger.mail.publish([event("a")])
    ledger.mail.distribute(NOW)
    (delivery,) = ledger.mail.deliveries([one], NOW)
    ledger.mail.pass_over(delivery.delivery, one, "its data do not fit")
    assert ledger.mail.deliveries([one], NOW) == []
    runner(ledger, {two: ("paid",)})
    (again,) = ledger.mail.deliveries([two], NOW)
    ledger.mail.pass_over(again.delivery, two, "nor these")
    assert ledger.mail.redeliver([delivery.delivery]) == [delivery.delivery], (
        "refused: nobody else may use it"
    )
    assert [found.version for found in ledger.mail.deliveries([one, two], NOW)] == [two]


def test_what_fails_is_tried_later_and_holds_up_nothing(ledger: Ledger) -> None:
    label = version(ledger, "1", "paid")
    ledger.mail.publish([event("a"), event("b")])
    ledger.mail.distribute(NOW)
    first, second = ledger.mail.deliveries([label], NOW)
    ledger.mail.postpone(first.delivery, "the disk was full", NOW + 5_000)
    assert [one.event.id for one in ledger.mail.deliveries([label], NOW)] == [second.event.id]
    assert [(one.event.id, one.tries) for one in ledger.mail.deliveries([label], NOW + 5_000)] == [
        ("b", 0),
        ("a", 1),
    ]
    assert [
        one.tries
        for one in ledger.mail.deliveries([label], NOW - 86_400_000)
        if one.event.id == "a"
    ] == [1], "a clock was set back"
    assert ledger.mail.redeliver([first.delivery, second.delivery]) == [first.delivery]


def test_a_version_without_a_runner_is_named(ledger: Ledger) -> None:
    label = version(ledger, "1", "paid")
    ledger.mail.publish([event("a")])
    ledger.mail.distribute(NOW)
    later = NOW + 120_000
    assert [(one.kind, one.subject) for one in ledger.health.watch({}, [], later)] == [
        ("unserved-version", "orders 1")
    ]
    assert len(ledger.mail.deliveries([label], later)) == 1, "it waits"
    ended = ledger.mail.unsubscribe("orders", "1", ["paid"])
    assert (ended.types, ended.deliveries) == (["paid"], 1)
    assert ledger.mail.deliveries([label], later) == []
    with pytest.raises(NotFoundError, match="no version"):
        ledger.mail.unsubscribe("orders", "9", [])


def test_one_event_that_the_broker_does_not_take_holds_up_no_other_and_is_parked(
    ledger: Ledger,
) -> None:
    bad = Event("bad", "paid", "s", "", NOW, Stored("0" * 64, 9), outgoing=True, received_at=NOW)
    ledger.mail.publish(
        [bad, Event("good", "paid", "s", "", NOW, b"1", outgoing=True, received_at=NOW)]
    )
    assert len(ledger.mail.outgoing(NOW)) == 2
    ledger.mail.not_sent(("bad", "s"), "it is missing", NOW + 2_000, counted=True)
    assert [one.event.id for one in ledger.mail.outgoing(NOW)] == ["good"]
    assert [(one.event.id, one.tries) for one in ledger.mail.outgoing(NOW + 2_000)] == [
        ("good", 0),
        ("bad", 1),
    ]
    ledger.mail.sent([("good", "s"), ("bad", "another source")])
    ledger.mail.not_sent(("bad", "s"), "it is missing", None, counted=True)
    assert ledger.mail.outgoing(NOW + 900_000) == []
    (alert,) = ledger.health.watch({}, [], NOW)
    assert (alert.kind, alert.subject) == ("parked-events", "broker")
    assert ledger.mail.send_again([1, 2]) == [1]
    assert [one.tries for one in ledger.mail.outgoing(NOW)] == [0]


def test_a_message_that_is_no_event_is_kept_once_with_its_reason(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.mail.keep_refused(
            kept_instead(MALFORMED, b"\xff\x00", "this is no JSON", NOW), "this is no JSON"
        )
    assert ledger.mail.publish([kept_instead(MALFORMED, b"\xff\x00", "this is no JSON", NOW)]) == [
        "same"
    ]


def test_what_cannot_be_handed_out_is_set_aside_alone(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = version(ledger, "1", "paid")
    ledger.mail.publish(
        [event(f"e{number}", key="bad" if number == 1 else "good") for number in range(3)]
    )
    mail, real = ledger.mail, type(ledger.mail)._distribute  # type: ignore[attr-defined]

    def failing(self: object, run: object, fresh: object, at: int) -> int:
        if any(row[2] == "bad" for row in fresh.events):  # type: ignore[attr-defined]
            raise ValueError("a bug")
        return int(real(self, run, fresh, at))

    monkeypatch.setattr(type(mail), "_distribute", failing)
    assert mail.distribute(NOW) == 2
    assert [one.event.id for one in mail.deliveries([label], NOW)] == ["e0", "e2"]
    assert mail.distribute(NOW) == 0, "it is not tried all the time"
    assert ("parked-events", "mailroom") in {
        (one.kind, one.subject) for one in ledger.health.watch({}, [], NOW)
    }
    monkeypatch.undo()
    runner(ledger, {label: ("paid",)})
    assert ledger.mail.distribute(NOW) == 1, "a runner of a release that can starts"
    assert {one.event.id for one in mail.deliveries([label], NOW)} == {"e0", "e1", "e2"}
