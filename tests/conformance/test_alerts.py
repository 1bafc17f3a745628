"""What every ledger must do with alerts and pauses: each alert reaches each address once, and a
rule lifts no person's pause."""

from __future__ import annotations

from holdfast.health import TELLING_TRIES
from holdfast.ledger import Ledger
from holdfast.ledgers.budgets import go_on_spending, stop_spending
from holdfast.lifecycle import Paused
from holdfast.model.alerts import Address, Alert
from holdfast.model.changes import Operation
from tests.conformance.test_ledger import NOW, SPEC

FULL = Alert("disk-full", "host /data", "2 % free")
ONE, OTHER = Address("one", "1: json://one/…"), Address("other", "2: json://other/…")
MINUTE = 60_000


def told(ledger: Ledger, at: int, *addresses: Address) -> list[tuple[str, str, bool]]:
    return [
        (one.address, one.alert.kind, one.closed_at is not None)
        for one in ledger.health.alerts_to_tell(at + MINUTE, at, addresses)
    ]


def test_an_alert_that_is_over_is_told_too_and_marked(ledger: Ledger) -> None:
    ledger.health.know_addresses([ONE], NOW)
    ledger.health.watch({}, [FULL], NOW)
    for minute in range(1, 6):
        ledger.health.watch({}, [], NOW + minute * MINUTE)
    assert told(ledger, NOW + 6 * MINUTE, ONE) == [("one", "disk-full", True)]


def test_each_address_is_told_once_whatever_the_others_do(ledger: Ledger) -> None:
    ledger.health.know_addresses([ONE, OTHER], NOW)
    ledger.health.watch({}, [FULL], NOW)
    (one, other) = ledger.health.alerts_to_tell(NOW + MINUTE, NOW, [ONE, OTHER])
    ledger.health.alerts_told([one.number], "one", NOW)
    tries = 1
    for minute in range(1, 40 * 60):
        at = NOW + minute * MINUTE
        found = ledger.health.alerts_to_tell(at + MINUTE, at, [ONE, OTHER])
        assert {telling.address for telling in found} <= {"other"}
        for telling in found:
            ledger.health.alerts_not_told([telling.number], "other", "it hangs")
            tries += 1
    assert tries == TELLING_TRIES
    ledger.health.know_addresses([OTHER], NOW + 41 * 60 * MINUTE)
    assert told(ledger, NOW + 41 * 60 * MINUTE, OTHER) == [("other", "disk-full", False)], (
        "a runner started anew, and the alert is still open"
    )
    assert other.id == one.id, "the id is the alert's"


def test_a_sender_that_died_is_followed_by_another_under_the_same_id_and_not_at_once(
    ledger: Ledger,
) -> None:
    ledger.health.watch({}, [FULL], NOW)
    (first,) = ledger.health.alerts_to_tell(NOW + MINUTE, NOW, [ONE])
    assert told(ledger, NOW + MINUTE - 1, ONE) == []
    (again,) = ledger.health.alerts_to_tell(NOW + 2 * MINUTE, NOW + MINUTE, [ONE])
    assert (again.id, again.tries) == (first.id, 2)


def test_a_new_address_hears_of_what_is_open_and_not_of_what_was(ledger: Ledger) -> None:
    ledger.health.watch({}, [FULL, Alert("memory-short", "host", "short")], NOW)
    for minute in range(1, 6):
        ledger.health.watch({}, [FULL], NOW + minute * MINUTE)
    ledger.health.know_addresses([ONE], NOW + 6 * MINUTE)
    assert told(ledger, NOW + 6 * MINUTE, ONE) == [("one", "disk-full", False)]


def test_the_next_occurrence_is_told_again(ledger: Ledger) -> None:
    ledger.health.know_addresses([ONE], NOW)
    ids = set()
    for hour in range(3):
        at = NOW + hour * 60 * MINUTE
        ledger.health.watch({}, [FULL], at)
        (telling,) = ledger.health.alerts_to_tell(at + MINUTE, at, [ONE])
        ledger.health.alerts_told([telling.number], "one", at)
        ids.add(telling.id)
        ledger.health.watch({}, [], at + 5 * MINUTE)
    assert len(ids) == 3


def test_a_rule_lifts_no_persons_pause(ledger: Ledger, version: int) -> None:
    name, alert = SPEC.pipeline, Alert("budget", SPEC.pipeline, "its budget is spent")
    transact = ledger.health._transact  # type: ignore[attr-defined]

    def person(paused: bool, who: str = "anna") -> bool:
        operation = ledger.lifecycle.begin_operation(
            Operation("pause", f"pipeline {name}", who), NOW
        )
        return ledger.lifecycle.pause_pipeline(operation, name, "", paused, NOW)

    transact(lambda run: stop_spending(run, alert, NOW))
    assert person(True, "holdfast"), "a person pauses it too, whatever the name"
    transact(lambda run: go_on_spending(run, name, NOW))
    assert ledger.lifecycle.paused() == [Paused(name, "")]
    transact(lambda run: stop_spending(run, alert, NOW))
    assert person(False), "a person lifts every pause"
    assert ledger.lifecycle.paused() == []
    person(True)
    transact(lambda run: go_on_spending(run, name, NOW))
    assert ledger.lifecycle.paused() == [Paused(name, "")]
    person(False)
    transact(lambda run: stop_spending(run, alert, NOW))
    transact(lambda run: go_on_spending(run, name, NOW))
    assert ledger.lifecycle.paused() == [], "its own"
