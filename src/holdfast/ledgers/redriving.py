"""Dead letters that rules send back: a few at a time, each lot an operation like a person's."""

from __future__ import annotations

from holdfast.ledgers.beyond import Run
from holdfast.ledgers.budgets import own_operation
from holdfast.ledgers.generations import redrive
from holdfast.ledgers.thresholds import nodes_named
from holdfast.ledgers.verbs import Listed
from holdfast.model.duration import seconds
from holdfast.model.redriving import RedriveRule

LOT = 500
"""Letters that are looked at in one transaction."""


def redrive_by_rule(
    run: Run, listed: Listed, pipeline: str, rule: RedriveRule, after: int, now_ms: int
) -> tuple[int, int]:
    """Send back those open letters that a rule concerns, of the next few after a letter.

    Returns:
        The last letter looked at (0: there are no more), and how many went back.
    """
    rows = run("open_dead_letters_after", pipeline, after, LOT)
    places = set(nodes_named(run, pipeline, rule.step)) if rule.step else None
    opened_before = now_ms - round(seconds(rule.after) * 1000)
    wanted = [
        dead_letter
        for dead_letter, version, node, kind, error, at, state, times in rows
        if at <= opened_before and times < rule.times and state in ("dead", "completed")
        if (places is None or (version, node) in places) and rule.error in ("", kind, error)
    ]
    last = rows[-1][0] if len(rows) == LOT else 0
    if not wanted:
        return last, 0
    # before the audit log, as whoever decides does
    run("lock_items", listed(sorted({row[1] for row in run("dead_letters_now", listed(wanted))})))
    changed = redrive(run, listed, wanted, now_ms)
    if changed:
        operation = own_operation(
            run, "redrive", f"dead letters of {pipeline}", rule.text(), now_ms
        )
        run("note_operated_dead_letters", operation, listed(changed))
        run("operation_changed", len(changed), operation)
    return last, len(changed)
