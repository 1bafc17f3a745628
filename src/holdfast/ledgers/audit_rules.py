"""The audit's rules: what each is about, which table it walks, and what to do when it is broken.

The rule ``dead-without-letter`` is the query ``audit_dead_without_letter``; see
``sql/shared/audit.sql``.
"""

from __future__ import annotations

from typing import Final

from holdfast.model.audits import Rule

RESTORE = "rows were changed or lost outside Holdfast: compare with a backup, then restore it"
RESTART = "holdfast restart ITEM runs it again from the start"

ITEM_RULES: Final = (
    Rule("item-without-receipt", "items", "an item has no receipt, or several", RESTORE),
    Rule(
        "item-without-version",
        "items",
        "an item goes under a version that its pipeline does not have",
        RESTORE,
    ),
    Rule("child-without-parent", "items", "the item that set this one off is gone", RESTORE),
    Rule(
        "running-without-owner",
        "items",
        "an item is running, and nobody ever began to run it",
        "holdfast restart ITEM; no runner takes it by itself",
        stands=True,
    ),
    Rule(
        "waiting-without-wake",
        "items",
        "an item waits, and neither a time nor anybody will wake it",
        "holdfast restart ITEM; nothing wakes it by itself",
        stands=True,
    ),
    Rule("ended-without-time", "items", "an item has ended, and not when", RESTORE),
    Rule("completed-without-output", "items", "an item is completed and has no result", RESTART),
    Rule(
        "output-without-task",
        "items",
        "an item is completed, and the task that holds its result has not succeeded",
        RESTART,
    ),
    Rule("output-without-value", "items", "an item is completed, and its result is empty", RESTART),
    Rule(
        "dead-without-letter",
        "items",
        "an item is dead and has no open dead letter, so nobody is asked to look at it",
        RESTART,
        stands=True,
    ),
    Rule(
        "dead-task-of-completed",
        "items",
        "an item is completed though a task of it is dead, and no flag says so",
        "holdfast item ITEM shows it",
    ),
    Rule(
        "generation-ahead",
        "items",
        "rows of an item belong to a generation that has not begun",
        RESTORE,
    ),
)

TASK_RULES: Final = (
    Rule(
        "completed-with-live-task",
        "live",
        "an item has ended, and a task of it has not",
        "holdfast restart ITEM, or restart its runner",
    ),
    Rule("live-task-without-item", "live", "a task is of an item that is gone", RESTORE),
    Rule(
        "task-that-nobody-wakes",
        "live",
        "a task waits for an answer that nobody was asked for",
        "holdfast restart ITEM; nothing answers it",
        stands=True,
    ),
    Rule(
        "letter-without-item", "dead_letters", "a dead letter is of an item that is gone", RESTORE
    ),
    Rule(
        "letter-ahead",
        "dead_letters",
        "a dead letter belongs to a generation that has not begun",
        RESTORE,
    ),
)

MESSAGE_RULES: Final = (
    Rule("receipt-without-item", "receipts", "an item was accepted and is gone", RESTORE),
    Rule(
        "receipt-without-manifest",
        "receipts",
        "a receipt names a manifest that is not there",
        RESTORE,
    ),
    Rule("wait-without-item", "waits", "somebody is asked for an item that is gone", RESTORE),
    Rule("wait-ahead", "waits", "a wait belongs to a generation that has not begun", RESTORE),
    Rule(
        "wait-of-ended-item",
        "waits",
        "somebody is asked for an item that has ended",
        "leave it unanswered: the answer changes nothing",
    ),
    Rule(
        "answer-that-woke-nobody",
        "waits",
        "an item was answered, and nothing wakes it",
        "holdfast pause ITEM, then holdfast resume ITEM: it is claimed, and takes the answer",
        stands=True,
    ),
    Rule(
        "child-without-item",
        "waits",
        "an item waits for a child that is not there",
        RESTART,
        stands=True,
    ),
    Rule(
        "wait-of-ended-child",
        "waits",
        "an item waits for a child that has ended, and will not be told",
        "holdfast restart ITEM takes the child's result",
        stands=True,
    ),
    Rule(
        "child-of-another",
        "waits",
        "an item waits for a child that belongs to another item, and will not be told of its end",
        "wait until the child has ended, then holdfast restart ITEM",
        stands=True,
    ),
    Rule(
        "delivery-without-event",
        "deliveries",
        "an event that is to be delivered is gone",
        RESTORE,
        shown="delivery",
    ),
    Rule(
        "delivery-without-receiver",
        "deliveries",
        "an event is to be delivered to a pipeline that does not listen to it any more",
        "run a version that listens to it",
        shown="delivery",
        stands=True,
    ),
    Rule(
        "delivered-without-item",
        "deliveries",
        "an event was delivered, and its item is gone",
        RESTORE,
        shown="delivery",
    ),
    Rule(
        "mail-without-item",
        "mail",
        "a message to another item is about an item that is gone",
        RESTORE,
    ),
    Rule(
        "operation-without-entry",
        "operations",
        "an operation is missing in the audit log",
        RESTORE,
        shown="operation",
    ),
    Rule(
        "refused-without-pipeline",
        "refused",
        "a refused input was for a pipeline that is not there",
        RESTORE,
        shown="refused input",
    ),
    Rule(
        "refused-miscounted",
        "refused",
        "a refused input is miscounted",
        RESTORE,
        shown="refused input",
    ),
    Rule(
        "refused-accepted-without-item",
        "refused",
        "a refused input is said to be accepted, and has become no item",
        RESTORE,
        shown="refused input",
    ),
)

ROW_RULES: Final = (*ITEM_RULES, *TASK_RULES, *MESSAGE_RULES)
"""Each is one query."""

REQUIRED_TASK = Rule(
    "required-task-missing",
    "tasks",
    "an item is completed, and a task that its graph requires has not succeeded",
    RESTART,
)
TASK_AHEAD = Rule(
    "task-ahead", "tasks", "a task belongs to a generation that has not begun", RESTORE
)
GROUP = Rule(
    "conservation", "receipts", "what was received is not what is there", RESTORE, shown=""
)
TRAIL = Rule(
    "audit-log-changed",
    "audit_log",
    "entries of the audit log were changed or taken out",
    "compare it with a backup, and with the last signed head (holdfast audit --against FILE)",
    shown="",
)
MEASURES = "the measures of a pipeline are not the sums of its rows"
