"""Runbooks: what to do, for this very pipeline, in commands that can be pasted.

Tests run every one of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

import msgspec

from holdfast.model.graph import TASKS


class Step(msgspec.Struct, frozen=True):
    """What to do and the commands for it; ``see`` is where the page shows the same."""

    text: str
    commands: tuple[str, ...] = ()
    see: str = ""


class Runbook(msgspec.Struct, frozen=True):
    """One runbook.

    Attributes:
        slug: its name in addresses and files.
        title: what it is for.
        when: how one knows that it is needed.
        alerts: kinds of alerts that lead to it.
        steps: what to do, in order.
    """

    slug: str
    title: str
    when: str
    alerts: tuple[str, ...]
    steps: tuple[Step, ...]


class Subject(msgspec.Struct, frozen=True):
    """The pipeline that runbooks are written for.

    Attributes:
        pipeline: its name.
        version: its newest label.
        steps: names of its steps, in the order of its graph.
        module: where its code is, as ``holdfast runner`` takes it.
        deadline: an item has so many seconds, or None.
    """

    pipeline: str
    version: str
    steps: tuple[str, ...]
    module: str = "MODULE"
    deadline: float | None = None


def subject_of(
    pipeline: str,
    version: str,
    shape: Iterable[dict[str, Any]],
    module: str = "MODULE",
    deadline: float | None = None,
) -> Subject:
    """The subject, from a version's shape."""
    return Subject(
        pipeline,
        version,
        tuple(node["name"] for node in shape if node["kind"] in TASKS),
        module,
        deadline,
    )


def runbooks(of: Subject) -> list[Runbook]:
    """Every runbook of a pipeline."""
    return [
        _failed(of),
        _stuck(of),
        _late(of),
        _capacity(of),
        _dependency(of),
        _budget(of),
        _version(of),
        _step(of),
        _machine(of),
        _workers(of),
        _events(of),
        _memory(of),
        _clock(of),
        _internal(of),
        _alert(of),
    ]


def runbook_of_alert(of: Subject, kind: str) -> Runbook:
    """The runbook that an alert of a kind leads to; by default, how to read an alert."""
    return next((one for one in runbooks(of) if kind in one.alerts or kind == one.slug), _alert(of))


def markdown(of: Subject, book: Runbook) -> str:
    """A runbook as Markdown."""
    lines = [
        f"# {book.title}",
        "",
        f"Pipeline `{of.pipeline}`, version `{of.version}`.",
        "",
        f"**When:** {book.when}",
        "",
    ]
    if book.alerts:
        lines += [f"**Alerts:** {', '.join(f'`{kind}`' for kind in book.alerts)}", ""]
    for number, step in enumerate(book.steps, 1):
        lines += [f"{number}. {step.text}{f' On the page: `{step.see}`.' if step.see else ''}", ""]
        if step.commands:
            lines += ["   ```sh", *[f"   {command}" for command in step.commands], "   ```", ""]
    return "\n".join(lines)


def index(of: Subject, books: list[Runbook]) -> str:
    """The table of contents as Markdown."""
    lines = [f"# Runbooks of {of.pipeline}", "", "| when | what to do |", "|---|---|"]
    lines += [f"| {one.when} | [{one.title}]({one.slug}.md) |" for one in books]
    lines += ["", "Steps, in order: " + ", ".join(f"`{step}`" for step in of.steps) + ".", ""]
    return "\n".join(lines)


def _failed(of: Subject) -> Runbook:
    name, steps = shlex.quote(of.pipeline), of.steps
    return Runbook(
        "restart-failed-items",
        "Restart failed items",
        f"items of {of.pipeline} are dead",
        ("dead-letters", "dead-letter-rate", "dead-letter-age"),
        (
            Step(
                "See why they fail: one line a cause, the largest first.",
                (f"holdfast dead groups --pipeline {name}",),
                f"/dead?pipeline={of.pipeline}",
            ),
            Step(
                "Look at one whole story: each attempt, error, traceback. "
                f"The steps are {', '.join(steps)}.",
                (f"holdfast dead --pipeline {name} --limit 5",),
            ),
            Step(
                "If the cause has passed, or the step is mended and the runners are started "
                "again: send all back. What was done is not done again.",
                (
                    (
                        f"holdfast dead redrive --all --pipeline {name} "
                        "--rate 50 --reason 'cause mended'"
                    ),
                ),
                f"/dead?pipeline={of.pipeline}",
            ),
            Step(
                "See whether they get through now, and prove that nothing is lost.",
                (f"holdfast metrics {name} --since 15m", "holdfast audit"),
            ),
            Step(
                "What passes by itself need not be asked for: "
                "`@pipeline(…, redrive=[RedriveRule(error='timeout', after='1h', times=3)])`."
            ),
            Step(
                "Items that can never work are closed with a reason; nothing is deleted: "
                "`holdfast dead discard NUMBER --reason …`."
            ),
        ),
    )


def _stuck(of: Subject) -> Runbook:
    return Runbook(
        "clear-stuck-items",
        "Clear stuck items",
        f"items of {of.pipeline} neither end nor fail",
        ("stuck-items",),
        (
            Step(
                "Each item past its bound, why it waits, and the command that moves it.",
                ("holdfast stuck --older 1h || true",),
                "/alerts",
            ),
            Step(
                "Is something paused?",
                (
                    "holdfast operations --limit 10",
                    f"holdfast resume --pipeline {shlex.quote(of.pipeline)}",
                ),
                f"/pipelines/{of.pipeline}",
            ),
            Step("Does somebody have to decide?", ("holdfast reviews",), "/reviews"),
            Step(
                "Is a dependency away? Its probes go on by themselves; "
                "when it is back, so do the items.",
                ("holdfast dependencies",),
            ),
        ),
    )


def _late(of: Subject) -> Runbook:
    name = shlex.quote(of.pipeline)
    due = f" (each has {of.deadline:g} s)" if of.deadline else ""
    return Runbook(
        "items-are-late",
        "Items are late",
        f"items of {of.pipeline} will pass their deadline{due}",
        ("deadline-risk",),
        (
            Step(
                "Where is the time spent? Look at p95 by step, and at what waits for capacity.",
                (f"holdfast metrics {name} --since 1h", "holdfast queues --steps"),
                f"/pipelines/{of.pipeline}",
            ),
            Step(
                "Steps that take longer than they used to are killed at their learned limit: "
                "see the limits and why.",
                ("holdfast timeouts",),
            ),
            Step("What waits for capacity needs more of it: see 'Scale capacity'."),
        ),
    )


def _capacity(of: Subject) -> Runbook:
    return Runbook(
        "scale-capacity",
        "Scale capacity",
        f"more comes into {of.pipeline} than is done",
        ("queue-growth",),
        (
            Step(
                "How much waits, since when, and how long it needs to drain.",
                ("holdfast queues", "holdfast queues --steps"),
                "/",
            ),
            Step(
                "More worker processes in a runner: "
                f"start it with `HOLDFAST_WORKERS=8 holdfast runner {of.module}`; "
                "more items at a time: HOLDFAST_IN_FLIGHT."
            ),
            Step(
                "More runners, on PostgreSQL alone: the same command on further machines, "
                f"`holdfast runner {of.module}`. They share "
                f"what waits by themselves."
            ),
            Step("Urgent items go first: `holdfast submit … --priority 100`."),
        ),
    )


def _dependency(of: Subject) -> Runbook:
    return Runbook(
        "dependency-away",
        "A dependency is away",
        "a service that steps call does not answer",
        ("open-breaker",),
        (
            Step("Which one, since when, and what it says.", ("holdfast dependencies",), "/"),
            Step(
                "Nothing is lost and nothing need be done: one probe at a time goes out, what "
                "needs the service waits, and goes on when it is back."
            ),
            Step(
                "Afterwards: did anything die of it?",
                (f"holdfast dead groups --pipeline {shlex.quote(of.pipeline)}",),
                "/dead",
            ),
        ),
    )


def _budget(of: Subject) -> Runbook:
    name = shlex.quote(of.pipeline)
    return Runbook(
        "budget-spent",
        "The budget is spent",
        f"{of.pipeline} has cost its budget of the day and is paused, "
        "or items of it are dead for theirs",
        ("budget",),
        (
            Step(
                "What costs so much: by step, and by day.",
                (f"holdfast costs {name} --since 1d", f"holdfast costs {name} --by-day --since 7d"),
                "/",
            ),
            Step(
                "Should it go on today? It does so by itself at midnight UTC; whoever resumes "
                "it before is not contradicted until the next day.",
                (f"holdfast resume --pipeline {name}",),
                f"/pipelines/{of.pipeline}",
            ),
            Step(
                "Items that have cost too much: raise `@pipeline(…, budget=Budget(item_usd=…))`, "
                "start the runners again, and send them back.",
                (
                    f"holdfast find pipeline:{name} error:budget",
                    f"holdfast dead redrive --all --pipeline {name} --reason 'budget raised'",
                ),
            ),
        ),
    )


def _version(of: Subject) -> Runbook:
    return Runbook(
        "deploy-a-version",
        "Deploy a version",
        f"a new label of {of.pipeline}, or items of one that no runner serves",
        ("unserved-version",),
        (
            Step(
                f"What a new label changes for the items in flight: `holdfast deploy {of.module}`; "
                "with `--move` they go on under it, keeping results of steps that are the same."
            ),
            Step(
                "Which versions have items?",
                (f"holdfast status {shlex.quote(of.pipeline)}",),
                f"/pipelines/{of.pipeline}",
            ),
            Step(
                "Items of an old label finish on it while a runner serves it: "
                f"`holdfast runner OLD_MODULE {of.module}`."
            ),
        ),
    )


def _step(of: Subject) -> Runbook:
    first = of.steps[0] if of.steps else "step"
    return Runbook(
        "add-a-step",
        "Add a step",
        f"{of.pipeline} is to do more",
        (),
        (
            Step(
                "Write the step: a typed function with `@step()`, and call it in the "
                f"pipeline's function, for example after `{first}`. "
                f"Give the pipeline a new "
                f'label: `version="{of.version}-next"`.'
            ),
            Step(
                f"See the graph, before anything runs: `holdfast graph {of.module}:{of.pipeline}`. "
                "Types that do not fit are refused here, with both names."
            ),
            Step("Run it as plain Python in a test: the pipeline is a function."),
            Step(
                "See what it changes for the items in flight, then deploy: "
                f"`holdfast deploy {of.module}`."
            ),
            Step(
                "Watch the new step.",
                (f"holdfast funnel {shlex.quote(of.pipeline)} --since 1h",),
                f"/pipelines/{of.pipeline}",
            ),
        ),
    )


def _machine(of: Subject) -> Runbook:
    return Runbook(
        "disk-or-ledger",
        "The disk is full, or the ledger does not take what is written",
        "nothing more is accepted",
        ("disk-full", "ledger-trouble"),
        (
            Step("What is wrong here, and what to do about it.", ("holdfast doctor || true",)),
            Step(
                "What nothing refers to any more is removed.",
                ("holdfast artifacts collect --dry-run",),
            ),
            Step(
                "What was acknowledged is safe; runners wait, and go on by themselves when "
                "there is room. Prove it.",
                ("holdfast audit",),
                "/audit",
            ),
        ),
    )


def _events(of: Subject) -> Runbook:
    name = shlex.quote(of.pipeline)
    return Runbook(
        "events-wait",
        "Events wait: a pipeline or the broker does not take them",
        "what was received or emitted is kept, and does not arrive",
        ("undelivered-events", "parked-events", "broker-trouble"),
        (
            Step(
                "What waits, for how long, and what would move it.",
                ("holdfast stuck || true",),
                "/alerts",
            ),
            Step(
                "A pipeline's `where` or `key` fails, or a store does: the reason is there. "
                "After it has been put right, "
                "`holdfast events redeliver DELIVERY` tries it at once; it is tried again by "
                "itself within 5 minutes.",
                ("holdfast events deliveries --state open",),
            ),
            Step(
                f"A version of {of.pipeline} listens and has no runner: start one. If it will "
                "not come back, end its subscriptions: "
                f"`holdfast events unsubscribe {name} --version LABEL`."
            ),
            Step(
                "The broker did not take an event, ten times: the reason is there. After it "
                "has been put right, "
                "`holdfast events resend EVENT` hands it on again.",
                ("holdfast events outgoing",),
            ),
            Step(
                "The broker cannot be reached, or its stream would discard unread messages: "
                "the runner's log and the alert say which limit, and "
                "what to set. Events wait in the ledger meanwhile, and nothing of them is lost.",
                ("holdfast alerts",),
                "/alerts",
            ),
        ),
    )


def _workers(of: Subject) -> Runbook:
    return Runbook(
        "workers-cannot-start",
        "Worker processes cannot start, or cannot import a pipeline",
        "`def` steps wait although there is capacity; a run ends with exit code 5",
        ("workers",),
        (
            Step(
                "The alert names the module, the error, and the command that shows it.",
                ("holdfast alerts",),
                "/alerts",
            ),
            Step(
                "Repair the environment of the runner: the same Python, the same user, the "
                "same variables. No restart is needed."
            ),
            Step(
                "Runners try a new worker by themselves, after 1 s at first, every 30 s at "
                "most. No attempt was used up meanwhile."
            ),
            Step(
                "See that items move again.",
                (f"holdfast funnel {shlex.quote(of.pipeline)}",),
                f"/pipelines/{of.pipeline}",
            ),
        ),
    )


def _memory(of: Subject) -> Runbook:
    return Runbook(
        "memory",
        "Memory is short",
        "attempts fail with class memory, or other processes leave the runner too little",
        ("memory-short",),
        (
            Step(
                "Which steps needed too much? Each message names the peak.",
                ("holdfast dead find error:memory",),
                "/dead",
            ),
            Step(
                "How much does each step usually need? See the column of peaks.",
                (f"holdfast metrics {shlex.quote(of.pipeline)}",),
            ),
            Step(
                "Give a step that is greedy for some inputs a limit, so that it fails alone: "
                "`@step(memory=...)`. "
                "Fewer workers at a time need less together: `HOLDFAST_WORKERS`."
            ),
            Step(
                "If it is not the workers that hold the memory, end what does, or add memory. "
                "Then send the dead letters back: "
                "`holdfast dead redrive error:memory`."
            ),
        ),
    )


def _clock(of: Subject) -> Runbook:
    return Runbook(
        "clock",
        "A clock is wrong or was set",
        "a runner says that its machine's clock is ahead of the ledger's time, or behind it",
        ("clock",),
        (
            Step(
                "Whose clock, and by how much? No item is harmed: waits, deadlines and leases "
                "go by the ledger's time.",
                ("holdfast doctor || true",),
            ),
            Step(
                "Set the clock of the host that the alert names, and keep it right with NTP. "
                "No restart is needed."
            ),
            Step(
                "If its clock was put right while an SQLite runner worked: the ledger's time "
                "approaches it by 3 minutes an hour, or takes it up at "
                "once when the runner is started again. What waits is moved along."
            ),
            Step(
                f"See that nothing of {of.pipeline} hangs.",
                ("holdfast stuck --older 1h || true", "holdfast audit"),
                "/audit",
            ),
        ),
    )


def _internal(of: Subject) -> Runbook:
    return Runbook(
        "a-fault-of-holdfast",
        "Items were buried by a fault of Holdfast's own",
        "dead letters of class internal; "
        "after twenty alike in a minute the pipeline is paused by `holdfast`",
        ("internal",),
        (
            Step(
                "Which items? The traceback of each says where it failed.",
                ("holdfast dead find error:internal",),
                "/dead",
            ),
            Step("Is the pipeline paused, and since when?", ("holdfast operations",), "/audit"),
            Step(
                "Report it with one of the tracebacks. Nothing that had succeeded is lost, "
                "and every other item goes on."
            ),
            Step(
                "With a version that mends it: "
                f"`holdfast resume --pipeline {shlex.quote(of.pipeline)}`, "
                "and send the dead letters back: `holdfast dead redrive error:internal`. "
                "No step runs again that had succeeded."
            ),
        ),
    )


def _alert(of: Subject) -> Runbook:
    return Runbook(
        "read-an-alert",
        "Read an alert",
        "an alert is open",
        (),
        (
            Step(
                "What is open: kind, subject, since when, and what to do.",
                ("holdfast alerts",),
                "/alerts",
            ),
            Step(
                "Its kind names its runbook, here and on the page. An alert closes by itself, "
                "two minutes after what it says has ceased."
            ),
            Step(
                "Thresholds are the pipeline's: `@pipeline(…, alerts=Alerts(dead=…, "
                "dead_per_hour=…, dead_age=…, stuck=…, queue_age=…, "
                "deadline_risk=…, steps={…: StepAlerts(…)}))`."
            ),
            Step(
                f"Is everything of {of.pipeline} accounted for?",
                ("holdfast audit", f"holdfast funnel {shlex.quote(of.pipeline)}"),
                "/audit",
            ),
        ),
    )
