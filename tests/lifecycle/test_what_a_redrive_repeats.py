"""A dead letter that says nothing of the task that it names undoes no success of that task when it
is sent back."""

from __future__ import annotations

from collections import Counter

import apsw
import psycopg

from holdfast import App, Retry, pipeline, review, step
from holdfast.core.combinators import COMBINATORS
from holdfast.core.contain import unreadable
from holdfast.core.item_run import ItemRun
from holdfast.ledgers.queries import queries
from tests.lifecycle.conftest import Patterns
from tests.lifecycle_samples import Verdict

RAN: Counter[str] = Counter()


@step(retry=Retry(attempts=1))
async def look(key: str) -> str:
    """What the person sees."""
    return key


@step(retry=Retry(attempts=1), effects="unsafe")
async def pay(key: str) -> str:
    """Takes effect."""
    RAN[key] += 1
    return key


@pipeline(version="1", key=lambda key: key)
def asked(key: str) -> Verdict:
    """The last node has ended when somebody is asked about another one."""
    ruling = review(Verdict)(look(key))
    pay(key)
    return ruling


def change(app: App, statement: str) -> None:
    """Change rows beside the runner."""
    path = app.settings.ledger_path
    if path is not None:
        database = apsw.Connection(str(path))
        database.execute(statement)
        database.close()
        return
    with psycopg.connect(app.settings.ledger) as connection:
        connection.execute("set search_path = holdfast")
        connection.execute(statement.encode())


def test_an_item_whose_rows_cannot_be_read_repeats_nothing_when_they_can_be_again(
    app: App, run: Patterns
) -> None:
    RAN.clear()
    run(asked, "a")
    assert RAN["a"] == 1
    change(app, "update tasks set artifact = 'torn' where node = 0")
    run.decide({"fine": True})
    app.run([asked])
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert (dead_letter["error"], dead_letter["error_class"], dead_letter["step"]) == (
        "UnreadableRows",
        "bad-input",
        "pay",
    )
    change(app, "update tasks set artifact = null where node = 0")
    app.redrive([dead_letter["dead_letter"]])
    run(asked)
    if app.reviews():
        run.decide({"fine": True})
        app.run([asked])
    assert (run.state("a")[0], RAN["a"]) == ("completed", 1)
    assert app.reads().audit(0)["balanced"]


def test_every_query_knows_such_a_dead_letter_by_its_name() -> None:
    """The class and the name by which the shared condition knows such letters are those that the
    core gives them."""
    run = ItemRun(1, 1, asked.graph, "asked", "1", "a", 1, b'"a"', COMBINATORS)
    failure = unreadable(run, "torn", 0).dead_letters[0].failure
    for dialect in ("sqlite", "postgres"):
        told = queries(dialect)
        for name in (
            "settled_tasks",
            "redriven_dead_letters",
            "item_settled",
            "audited_tasks",
            "audited_outer_tasks",
        ):
            assert f"d.error = '{failure.error}'" in told[name], name
        assert not [
            name for name, text in told.items() if "{stays}" in text or "{not_voided}" in text
        ]
