"""Which items or dead letters a command means: ids, keys, or a filter; and how a bulk operation shows its progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from holdfast.app import App
from holdfast.cli.loading import find_item
from holdfast.cli.output import print_json, print_table, shorten
from holdfast.engine.fitting import Misfit
from holdfast.errors import InputError
from holdfast.handling import COUNTED, Changed
from holdfast.model.search import Filter, parse_filter

HELP = (
    "Ids or keys of items; or conditions, all of which must hold: FIELD=VALUE of the payload's searchable fields, pipeline: state: version: "
    "key: step: error: group: flag: older: younger: slower: faster: dearer: operation: (a value may end in *)."
)


def items_of(app: App, words: list[str] | None) -> Filter | list[int]:
    """What the words name.

    Raises:
        InputError: nothing is named, or ids are mixed with conditions.
        NotFoundError: no such item.
    """
    if not words:
        raise InputError("name items by id or key, or say which: `holdfast find state:dead` shows what a filter finds")
    conditions = [word for word in words if is_condition(word)]
    if conditions and len(conditions) < len(words):
        raise InputError(f"{next(word for word in words if word not in conditions)!r} beside conditions: name items, or give a filter, not both")
    return parse_filter(words) if conditions else [find_item(app, word) for word in words]


def is_condition(word: str) -> bool:
    """Whether a word is a condition rather than an id or a key."""
    name = word.partition(":")[0] if ":" in word else word.partition("=")[0] if "=" in word else ""
    return bool(name) and name.replace(".", "").replace("_", "").isalnum() and (":" in word or "=" in word)


def sure(app: App, what: str, target: Filter | list[int], yes: bool) -> None:
    """On a terminal, ask before a filter's items are changed for good."""
    if yes or not isinstance(target, Filter) or not sys.stdin.isatty():
        return
    reads = app.reads()
    number = reads.count_found(target, COUNTED, app.clock.now_ms())
    reads.close()
    if not typer.confirm(f"{what} {number:,} items ({target.text()})?"):
        raise typer.Exit(2)


@contextmanager
def progress(what: str, json: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on a terminal; nothing otherwise."""
    if json or not sys.stderr.isatty():
        yield None
        return
    with Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bar:  # fmt: skip
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def say(what: str, done: Changed, of: str, json: bool) -> None:
    """What an operation changed."""
    left = done.looked_at - done.changed - done.unfit
    if json:
        values = {"unfit": done.unfit, "misfits": done.misfits} if done.unfit else {}
        print_json({"operation": done.operation, "changed": done.changed, "unchanged": left, **values})
    else:
        _say(what, done, of, left)
    if done.unfit:
        raise typer.Exit(1)


def say_misfits(unfit: int, of: str, misfits: Iterable[Misfit]) -> None:
    """Name the items whose stored values do not fit."""
    named = list(misfits)
    shown = f"{len(named)} of {unfit:,}" if len(named) < unfit else f"{unfit:,}"
    print_table(
        ["item", "key", f"why it does not fit ({shown}{of})"],
        [[one.item, shorten(one.key, 40), one.why] for one in named],
        "",
    )


def _say(what: str, done: Changed, of: str, left: int) -> None:
    rest = f"; {left} unchanged: they were so already, or are in a state that does not allow it" if left else ""
    typer.echo(f"{what} {done.changed} {of}{rest} (operation {done.operation})")
    if done.unfit:
        typer.echo(f"{done.unfit} stay where they are: their stored values do not fit the new version")
        say_misfits(done.unfit, "", done.misfits)
