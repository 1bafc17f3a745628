"""Whatever is combined with whatever: the durable run under kills and lost answers gives what plain
Python gives."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import App, Pipeline
from holdfast.app import with_children
from holdfast.cli.export import output_of
from holdfast.model.events import Event
from holdfast.testing.postgres import LocalPostgres
from holdfast.testing.simulator import World
from tests.patterns.random_graphs import PIPELINES, news, person, plainly

pytestmark = pytest.mark.slow

ANY = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def outsiders(world: World) -> None:
    """Every review is decided by what it shows, every event comes."""
    rows: Any = world.real.connection.execute(
        "select id, digest, shown from waits where kind = 'review' and state = 'open'"
    ).fetchall()
    for review, digest, shown in rows:
        world.real.mail.decide(
            review,
            {"number": person(json.loads(shown)[0])},
            digest,
            "anybody",
            (),
            world.clock.now_ms(),
        )
    for (key,) in world.real.connection.execute(
        "select distinct key from waits where kind = 'event' and state = 'open'"
    ).fetchall():
        data = json.dumps({"number": news(str(key))}).encode()
        world.real.mail.publish(
            [
                Event(
                    f"news {key} {world.clock.now_ms()}",
                    "news",
                    "test",
                    str(key),
                    world.clock.now_ms(),
                    data,
                )
            ]
        )


@ANY
@given(PIPELINES, st.integers(0, 12), st.integers(0, 10**6), st.sampled_from([1, 1, 3]))
def test_a_durable_run_under_faults_equals_plain_python(
    one: Pipeline[int, int], payload: int, seed: int, runners: int
) -> None:
    expected = plainly(one, payload)
    world = World(seed, with_children([one]), lambda rng: [(one.name, payload)], runners, outsiders)
    world.operators = False  # what people cancel and restart is no plain Python
    for fault in world.rates:
        world.rates[fault] = (
            random.Random(seed).choice((0.0, 0.1)) if fault in ("infrastructure", "twice") else 0.0
        )
    seen: list[Any] = []

    def judge() -> None:
        found: Any = world.real.connection.execute(
            "select state, id from items where parent is null"
        ).fetchall()
        ((state, item),) = found
        seen.append(
            json.loads(output_of(world.reads.item(int(item))["output"], world.store))
            if state == "completed"
            else state
        )

    world.judge = judge
    world.run()
    assert seen == [expected]


@settings(ANY, max_examples=8)
@given(st.lists(PIPELINES, min_size=3, max_size=3), st.integers(0, 12))
def test_both_ledgers_agree_with_plain_python(
    server: LocalPostgres, tmp_path_factory: pytest.TempPathFactory, some: list[Any], payload: int
) -> None:
    home: Path = tmp_path_factory.mktemp("property")
    for app in (
        App(home=home / "sqlite", ledger="", workers=1),
        App(home=home / "postgres", ledger=server.new_database(), workers=1),
    ):
        app.run(some, [(one, payload) for one in some])
        for _ in range(200):
            if not _answer(app):
                break
            app.run(some)
        reads = app.reads()
        assert reads.audit(0)["balanced"], reads.audit(0)
        for one in some:
            item = reads.item(next(reads_id(reads, one.name)))
            found = (
                json.loads(output_of(item["output"], app.store()))
                if item["state"] == "completed"
                else item["state"]
            )
            assert found == plainly(one, payload), (app.settings.ledger_name, item["timeline"])
        reads.close()


def reads_id(reads: Any, name: str) -> Iterator[int]:
    """The item of a pipeline that is nobody's child."""
    from holdfast.model.ids import parse

    return (parse(row["item"]) for row in reads.items(name, None, 1000) if "." not in row["key"])


def _answer(app: App) -> bool:
    reads = app.reads()
    reviews = reads.reviews(None, "open", 1000)
    waits = reads._query(
        "select distinct key from "
        + ("" if app.settings.ledger_path else "holdfast.")
        + "waits where kind = 'event' and state = 'open'",
        (),
    )
    reads.close()
    for review in reviews:
        shown = json.loads(review["shown"])
        app.decide(review["review"], {"number": person(shown[0])}, review["digest"], "anybody")
    for (key,) in waits:
        app.publish("news", {"number": news(key)}, key=key)
    return bool(reviews or waits)
