"""A pipeline that has spent its budget of a day is paused by its runner, and goes on the next day;
people may resume it before."""

from __future__ import annotations

from holdfast.ledgers.beyond import Run
from holdfast.ledgers.verbs import note
from holdfast.model.alerts import Alert, Rule
from holdfast.model.audit_log import Entry
from holdfast.model.task import Usage

HOLDFAST = "holdfast"
"""Who does what no person does."""

BUDGET = "budget"
"""The rule under which a pipeline is paused here: it lifts no person's pause."""

DAY_MIN = 24 * 60


def overspent(run: Run, pipeline: str, watched: Rule, now_ms: int) -> Alert | None:
    """The alert that a pipeline has spent its budget of this day (UTC), or None."""
    limit = watched.budget.day_usd
    if limit is None:
        return None
    minute = now_ms // 60_000
    ((cpu_ms, gpu_ms, cost),) = run("used_since", minute - minute % DAY_MIN, pipeline)
    spent = watched.prices.spent(Usage(cpu_ms / 1000, cost=cost, gpu_s=gpu_ms / 1000))
    if spent < limit:
        return None
    message = (
        f"{pipeline} has spent ${spent:.2f} today, its budget is ${limit:.2f}: it is "
        "paused until the next day (UTC) or `holdfast resume`"
    )
    return Alert("budget", pipeline, message)


def stop_spending(run: Run, alert: Alert, now_ms: int) -> None:
    """Pause the pipeline, once an alert: whoever resumes it is not contradicted."""
    for (number,) in run("pipeline_of", alert.subject):
        operation = own_operation(run, "pause", f"pipeline {alert.subject}", alert.message, now_ms)
        changed = run("pause_by_rule", number, BUDGET, now_ms, operation)
        run("operation_changed", len(changed), operation)


def go_on_spending(run: Run, pipeline: str, now_ms: int) -> None:
    """A new day: the pipeline goes on, if it was paused for its budget."""
    for (number,) in run("pipeline_of", pipeline):
        if run("resume_by_rule", number, BUDGET):
            operation = own_operation(
                run, "resume", f"pipeline {pipeline}", "a new day, a new budget", now_ms
            )
            run("operation_changed", 1, operation)


def own_operation(run: Run, verb: str, target: str, reason: str, now_ms: int) -> int:
    """Write down that no person does something; returns the operation's number."""
    note(run, Entry(now_ms, HOLDFAST, verb, target, reason))
    number = int(run("add_operation", now_ms, HOLDFAST, verb, target, reason)[0][0])
    run("end_operation", "done", now_ms, number)
    return number
