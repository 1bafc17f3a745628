"""Clearing values of items that ended long ago, in bounded transactions. What happened stays known;
what it needs is never cleared."""

from __future__ import annotations

from holdfast.ledgers.beyond import Run


def purge(
    run: Run,
    pipeline: str,
    intermediates_before: int | None,
    outputs_before: int | None,
    now_ms: int,
    limit: int,
) -> int:
    """Clear what steps gave each other, and (archiving the item) what it gave; how many items that
    concerned."""
    number = 0
    if intermediates_before is not None:
        for (item,) in run("purgeable", pipeline, intermediates_before, limit):
            _clear(run, item, now_ms)
            number += 1
    if outputs_before is not None:
        for (item,) in run("archivable", pipeline, outputs_before, limit):
            run("archive_item", item, now_ms)
            run("clear_revisions", now_ms, item)
            _clear(run, item, now_ms)
            number += 1
    return number


def _clear(run: Run, item: int, now_ms: int) -> None:
    run("purge_tasks", item)
    run("purge_parts", item)
    run("note_purged", item, now_ms)
