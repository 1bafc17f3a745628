"""Search finds what a plain look at every item finds: by every condition, alone and together, on
both ledgers."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, Filter
from holdfast.errors import DefinitionError, InputError, NotFoundError
from holdfast.ledgers.search import Page
from holdfast.model.duration import seconds
from holdfast.model.search import Wanted, fields_of, parse_filter, read_filter
from tests.lifecycle.conftest import Patterns
from tests.lifecycle_samples import Job, picked, reviewed

CUSTOMERS = ("ACME", "ACME East", "Beta", "nobody")


def looked_at(app: App) -> list[dict[str, Any]]:
    """Every item, with its payload and open letters."""
    import json

    with closing(app.reads()) as reads:
        items = [
            reads.item(reads.item_by_key(row["key"]) or 0) for row in reads.items(None, None, 1_000)
        ]
    return [{**one, "data": json.loads(one["payload"])} for one in items]


def holds(one: dict[str, Any], wanted: Filter, now_ms: int) -> bool:
    """Whether an item is meant, by a plain reading."""
    dead_letters = [
        dead_letter for dead_letter in one["dead_letters"] if dead_letter["state"] == "open"
    ]
    took = None if one["ended_at"] is None else (one["ended_at"] - one["admitted_at"]) / 1000
    live = [
        entry["step"]
        for entry in one["timeline"]
        if entry["state"] in ("running", "retrying", "waiting")
    ]

    def like(value: str, pattern: Wanted) -> bool:
        assert isinstance(pattern, str)
        return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern

    def of_dead_letter(dead_letter: dict[str, Any]) -> bool:
        return (
            wanted.error in (None, dead_letter["error_class"], dead_letter["error"])
            and wanted.group in (None, dead_letter["group"])
            and wanted.step in (None, dead_letter["step"])
        )

    asks_dead_letters = (
        wanted.error is not None or wanted.group is not None or wanted.step is not None
    )
    by_step = wanted.step in live and wanted.error is None and wanted.group is None
    return (
        wanted.pipeline in (None, one["pipeline"])
        and (not wanted.states or one["state"] in wanted.states)
        and wanted.version in (None, one["version"])
        and (wanted.key is None or like(one["key"], wanted.key))
        and all(
            one["pipeline"] == "picked" and like(str(one["data"][name]), value)
            for name, value in wanted.fields
        )
        and (
            not asks_dead_letters
            or by_step
            or any(of_dead_letter(dead_letter) for dead_letter in dead_letters)
        )
        and (wanted.flag is None or wanted.flag in one["flags"])
        and (wanted.slower_s is None or (took is not None and took >= wanted.slower_s))
        and (wanted.faster_s is None or (took is not None and took <= wanted.faster_s))
        and (wanted.older_s is None or one["admitted_at"] < now_ms - wanted.older_s * 1000)
        and (wanted.younger_s is None or one["admitted_at"] >= now_ms - wanted.younger_s * 1000)
    )


@pytest.mark.slow
def test_search_finds_what_a_plain_look_finds(run: Patterns, app: App, tmp_path: Path) -> None:
    rng = random.Random(7)
    some = [
        Job(f"job {n % 7} {n}", str(tmp_path), rng.choice(CUSTOMERS), rng.choice((1, 50, 500)))
        for n in range(120)
    ]
    run([picked, reviewed], *some)
    run(reviewed, *[Job(f"person {n}", str(tmp_path)) for n in range(10)])
    app.pause(Filter(key="person 3*"))
    app.cancel(Filter(pipeline="picked", states=("dead",), fields=(("customer", "Beta"),)))
    everything, now = looked_at(app), app.clock.now_ms()
    assert len(everything) == 130
    groups = [one["group"] for one in app.reads().groups(None, 9)]
    choices: dict[str, list[Any]] = {
        "pipeline": ["picked", "reviewed"],
        "states": [("dead",), ("completed", "waiting"), ("paused",), ("queued",)],
        "version": ["1"],
        "key": ["job 3*", "job 1 8", "person 1", "*"],
        "fields": [
            (("customer", "ACME"),),
            (("customer", "ACME*"),),
            (("amount", "500"), ("customer", "nobody")),
            (("customer", "x"),),
        ],
        "step": ["picky", "wordy", "review"],
        "error": ["bad-input", "transient", "ValueError"],
        "group": groups,
        "older_s": [0.0, 1_000.0],
        "younger_s": [1_000.0, 0.001],
        "slower_s": [0.0, 100.0],
        "faster_s": [100.0],
    }
    found_some = 0
    with closing(app.reads()) as reads:
        for _ in range(400):
            names = rng.sample(sorted(choices), rng.choice((1, 1, 2, 3)))
            wanted = Filter(**{name: rng.choice(choices[name]) for name in names})
            expected = [one["item"] for one in everything if holds(one, wanted, now)]
            try:
                found = [row["item"] for row in reads.search(wanted, 1_000, now)]
            except NotFoundError:  # a step or field that this pipeline does not have
                assert not expected, wanted.text()
                continue
            assert found == sorted(expected, reverse=True), wanted.text()
            assert reads.count_found(wanted, 1_000, now) == len(expected)
            oldest = reads.find_ids(wanted, Page(3, oldest_first=True), now)
            assert oldest == sorted(reads.find_ids(wanted, Page(1_000), now))[:3], wanted.text()
            if len(found) > 3:
                page = [row["item"] for row in reads.search(wanted, 2, now, after=found[1])]
                assert page == found[2:4]
            found_some += bool(expected)
    assert found_some > 100


def test_what_a_filter_says_can_be_read_again() -> None:
    words = [
        "state:dead,waiting",
        "step:ocr",
        "older:7200s",
        "customer=ACME*",
        "pages.kind=scan",
        "operation:3",
        "dearer:0.25",
    ]
    wanted = parse_filter(words)
    assert wanted.states == ("dead", "waiting")
    assert wanted.fields == (("customer", "ACME*"), ("pages.kind", "scan"))
    assert read_filter(wanted.text()) == wanted
    assert parse_filter(["key:2026-01-01T10:00"]).key == "2026-01-01T10:00"
    assert Filter().text() == "everything"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("state:ready", "no state 'ready'"),
        ("age:5", "cannot be found by 'age'"),
        ("nonsense", "write FIELD=VALUE"),
        ("older:soon", "not a duration"),
        ("dearer:0.001", "say dollars, 0.01 or more"),
        ("dearer:much", "say dollars"),
    ],
)
def test_a_wrong_condition_says_what_there_is(word: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_filter([word])


def test_fields_of_a_payload() -> None:
    payload = (
        b'{"id": 7, "customer": {"name": "ACME", "vip": true}, "pages": [{"kind": '
        b'"scan"}, {"kind": "text"}], "none": null, "tags": ["a", "b"]}'
    )
    paths = (
        "id",
        "customer.name",
        "customer.vip",
        "pages.kind",
        "none",
        "missing.deep",
        "tags",
        "customer",
    )
    assert fields_of(payload, paths) == (
        ("id", "7"),
        ("customer.name", "ACME"),
        ("customer.vip", "true"),
        ("pages.kind", "scan"),
        ("pages.kind", "text"),
        ("tags", "a"),
        ("tags", "b"),
    )
    assert fields_of(b'{"a": "' + b"x" * 999 + b'"}', ("a",))[0][1] == "x" * 200


def test_a_searchable_field_must_be_there() -> None:
    from holdfast import pipeline
    from tests.lifecycle_samples import second

    with pytest.raises(
        DefinitionError, match="search='costumer': the payload has id, folder, customer"
    ):

        @pipeline(version="1", key=lambda job: job.id, search=["costumer"])
        def wrong(job: Job) -> Job:
            return second(job)


def test_seconds_are_durations() -> None:
    assert parse_filter(["younger:2h"]).younger_s == seconds("2h")
