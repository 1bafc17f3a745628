"""Which items or dead letters a command means (ids, keys, or a filter), and its progress."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from holdfast.app import App
from holdfast.cli.output import complain, print_json, print_table, safe, shorten, tell
from holdfast.engine.fitting import Misfit
from holdfast.errors import InputError, NotFoundError
from holdfast.handling import COUNTED, Changed
from holdfast.ledgers.reads import LedgerReads
from holdfast.model.ids import show
from holdfast.model.search import Filter, is_condition, parse_filter

HELP = (
    "Ids or keys of items; or conditions, all of which must hold: FIELD=VALUE of the "
    "payload's searchable fields, pipeline: state: version: "
    "key: step: error: group: flag: older: younger: slower: faster: dearer: operation: item: "
    "(a key or a field's value may end in *; "
    'quote what has blanks: customer="ACME GmbH").'
)


def items_of(app: App, words: list[str] | None) -> Filter | list[int]:
    """What the words name.

    Raises:
        InputError: nothing is named, or ids are mixed with conditions.
        NotFoundError: no such item.
    """
    if not words:
        raise InputError(
            "name items by id or key, or say which: "
            "`holdfast find state:dead` shows what a filter finds"
        )
    reads = app.reads()
    try:
        named = {word: _named(reads, word) for word in words}
        conditions = [word for word in words if is_condition(word) and not _is_id(word)]
        certain = [word for word in conditions if named[word] is None]
        items = [word for word in words if word not in conditions]
        if items and conditions:
            raise InputError(
                f"{items[0]!r} beside conditions: name items, or give conditions, not both"
            )
        if conditions and not certain:
            item = named[conditions[0]]
            assert item is not None
            raise InputError(
                f"{conditions[0]!r} is a condition, and the key of an item: write "
                f"item:{show(item)} for the item, or give one more condition"
            )
        if conditions:
            return reads.naming.filter(parse_filter(words))
        return list(dict.fromkeys(item for item in named.values() if item is not None))
    finally:
        reads.close()


def _is_id(word: str) -> bool:
    return word.strip().lower().startswith("item:")


def _named(reads: LedgerReads, word: str) -> int | None:
    """The item that a word names; None: it is a condition, and nothing else.

    Raises:
        InputError: it is no condition, and names no item or several.
    """
    if is_condition(word) and not _is_id(word):
        if word.startswith("key:"):
            return None
        try:
            return reads.naming.item(word)
        except InputError:
            return None
    try:
        return reads.naming.item(word)
    except NotFoundError as error:
        if not re.match(r"[\w.-]+\s*[:=<>!~]", word):
            raise
        _refuse_condition(word, error)


def sure(app: App, what: str, target: Filter | list[int], yes: bool) -> None:
    """On a terminal, ask before a filter's items are changed for good."""
    if yes or not isinstance(target, Filter) or not sys.stdin.isatty():
        return
    reads = app.reads()
    number = reads.count_found(target, COUNTED, app.clock.now_ms())
    reads.close()
    if not typer.confirm(f"{what} {number:,} items ({target.text()})?"):
        raise typer.Exit(2)


def _refuse_condition(word: str, error: NotFoundError) -> NoReturn:
    """Refuse a word that looks like a condition and is no item's id or key either."""
    try:
        parse_filter([word])
    except InputError as why:
        raise InputError(f"{why} (and no item has this key)") from None
    raise error


@contextmanager
def progress(what: str, json: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on a terminal; nothing otherwise."""
    if json or not sys.stderr.isatty():
        yield None
        return
    with Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def say(app: App, what: str, done: Changed, of: str, json: bool) -> None:
    """What an operation changed; and where it waits for a runner and there is none, that."""
    left = done.looked_at - done.changed - done.unfit
    if json:
        values = {"unfit": done.unfit, "misfits": done.misfits} if done.unfit else {}
        print_json(
            {"operation": done.operation, "changed": done.changed, "unchanged": left, **values}
        )
    else:
        _say(what, done, of, left)
    if done.changed and what in ("redriven", "restarted", "resumed", "moved"):
        with closing(app.reads()) as reads:
            if not reads.runners(app.clock.now_ms()):
                complain(
                    "no runner is alive: `holdfast runner MODULE --until-idle` goes on with them"
                )
    if done.unfit:
        raise typer.Exit(1 if what == "moved" else 2)


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
    rest = (
        f"; {left} unchanged: they were so already, or are in a state that does not allow it"
        if left
        else ""
    )
    tell(f"{what} {done.changed} {of}{rest} (operation {done.operation})")
    if done.unfit:
        if what == "moved":
            tell(
                f"{done.unfit} stay where they are: their stored values do not fit the new version"
            )
            say_misfits(done.unfit, "", done.misfits)
        else:
            tell(f"{done.unfit} were not {what}:")
            for one in done.misfits:
                tell(f"  item {one.item}, key {safe(shorten(one.key, 40))}: {safe(one.why)}")
