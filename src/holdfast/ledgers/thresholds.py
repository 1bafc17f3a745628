"""Whether a pipeline's numbers have passed its thresholds: each look is a few short queries."""

from __future__ import annotations

from collections import Counter

import msgspec

from holdfast.ledgers.beyond import Run
from holdfast.ledgers.budgets import overspent
from holdfast.model.alerts import Alert, Alerts, Rule
from holdfast.model.duration import seconds
from holdfast.model.ids import admitted_ms, first_id

HOUR_MS = 3_600_000

EVENT_WAITS_MS = 60_000
"""An event that a pipeline has not taken for so long is an alert."""

EVENTS = 1_000
"""Most events that are counted for an alert."""


def passed(run: Run, pipeline: str, watched: Rule, now_ms: int) -> list[Alert]:
    """The alerts that a pipeline's numbers call for now."""
    rule = watched.alerts
    ((number, oldest),) = run("dead_letters_open", pipeline, rule.dead)
    ((recent,),) = run("dead_letters_since", now_ms - HOUR_MS, pipeline)
    found = []
    if number >= rule.dead:
        found.append(
            Alert(
                "dead-letters",
                pipeline,
                f"{rule.dead} or more dead letters of {pipeline} are open: `holdfast dead groups`",
            )
        )
    if recent >= rule.dead_per_hour:
        message = (
            f"{rule.dead_per_hour} or more dead letters of {pipeline} were opened "
            "within an hour: `holdfast dead groups`"
        )
        found.append(Alert("dead-letter-rate", pipeline, message))
    if oldest is not None and now_ms - oldest > seconds(rule.dead_age) * 1000:
        days = (now_ms - oldest) / 86_400_000
        found.append(
            Alert(
                "dead-letter-age",
                pipeline,
                f"a dead letter of {pipeline} has waited for somebody for {days:.1f} days: "
                "`holdfast dead`",
            )
        )
    ((stuck,),) = run("old_items", pipeline, first_id(now_ms - round(seconds(rule.stuck) * 1000)))
    if stuck:
        message = (
            f"items of {pipeline} have not ended {rule.stuck} after they were admitted: "
            f"`holdfast stuck --older {rule.stuck}`"
        )
        found.append(Alert("stuck-items", pipeline, message))
    over = overspent(run, pipeline, watched, now_ms)
    return (
        found
        + ([] if over is None else [over])
        + _late(run, pipeline, watched, now_ms)
        + _at_steps(run, pipeline, rule, now_ms)
    )


def events_waiting(run: Run, now_ms: int) -> list[Alert]:
    """Events that pipelines have not taken, that the broker has not taken, or that could not be
    handed out."""
    found = []
    unserved: Counter[tuple[str, str]] = Counter()
    failing: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    for _, pipeline, version, _, _, _, _, tries, served, reason in run(
        "undelivered", now_ms, now_ms - EVENT_WAITS_MS, EVENTS
    ):
        if not served:
            unserved[pipeline, version or "?"] += 1
        elif tries:
            failing[pipeline] += 1
            reasons.setdefault(pipeline, reason or "")
    for (pipeline, version), number in sorted(unserved.items()):
        message = (
            f"{number} events wait for version {version} of {pipeline}, which listens and has "
            "no runner: start one, or "
            f"`holdfast events unsubscribe {pipeline} --version {version}`"
        )
        found.append(Alert("unserved-version", f"{pipeline} {version}", message))
    for pipeline, number in sorted(failing.items()):
        message = (
            f"{number} events fail at pipeline {pipeline} and are tried again: "
            f"{reasons[pipeline]}; `holdfast events deliveries --state open`"
        )
        found.append(Alert("undelivered-events", pipeline, message))
    ((parked,),) = run("parked_events", EVENTS)
    if parked:
        message = (
            f"the broker did not take {parked} events, which are parked: `holdfast "
            "events outgoing`, then `holdfast events resend`"
        )
        found.append(Alert("parked-events", "broker", message))
    ((aside,),) = run("aside_events", EVENTS)
    if aside:
        message = (
            f"{aside} events could not be handed out and are set aside: the runner's "
            "log says why; a runner that starts tries them again"
        )
        found.append(Alert("parked-events", "mailroom", message))
    return found


def _at_steps(run: Run, pipeline: str, rule: Alerts, now_ms: int) -> list[Alert]:
    """Dead letters of steps that have thresholds of their own; the subject names the step."""
    found = []
    for step, limits in sorted(rule.steps.items()):
        places = nodes_named(run, pipeline, step)
        subject, remedy = f"{pipeline} {step}", f"`holdfast find pipeline:{pipeline} step:{step}`"
        if limits.dead is not None or limits.dead_age is not None:
            rows = [
                run("dead_letters_open_at", pipeline, node, version, limits.dead or 1)[0]
                for version, node in places
            ]
            oldest = min((at for _, at in rows if at is not None), default=now_ms)
            if limits.dead is not None and sum(number for number, _ in rows) >= limits.dead:
                found.append(
                    Alert(
                        "dead-letters",
                        subject,
                        f"{limits.dead} or more dead letters of step {step} of {pipeline} are "
                        f"open: {remedy}",
                    )
                )
            if limits.dead_age is not None and now_ms - oldest > seconds(limits.dead_age) * 1000:
                message = (
                    f"a dead letter of step {step} of {pipeline} has waited for longer "
                    f"than {limits.dead_age}: {remedy}"
                )
                found.append(Alert("dead-letter-age", subject, message))
        if limits.dead_per_hour is not None:
            recent = sum(
                run("dead_letters_since_at", now_ms - HOUR_MS, pipeline, node, version)[0][0]
                for version, node in places
            )
            if recent >= limits.dead_per_hour:
                message = (
                    f"{limits.dead_per_hour} or more dead letters of step {step} of "
                    f"{pipeline} were opened within an hour: {remedy}"
                )
                found.append(Alert("dead-letter-rate", subject, message))
    return found


def nodes_named(run: Run, pipeline: str, step: str) -> list[tuple[int, int]]:
    """Version and node of every step of a name, in all versions of a pipeline."""
    shapes = [
        (version, msgspec.json.decode(shape)) for version, shape in run("versions_of", pipeline)
    ]
    return [
        (version, index)
        for version, shape in shapes
        for index, node in enumerate(shape)
        if node["name"] == step
    ]


def _late(run: Run, pipeline: str, watched: Rule, now_ms: int) -> list[Alert]:
    """What waits too long, or will be over its deadline soon."""
    rule, found = watched.alerts, []
    ((foremost,),) = run("foremost_of", pipeline)
    if foremost is not None and now_ms - admitted_ms(foremost) > seconds(rule.queue_age) * 1000:
        minutes = (now_ms - admitted_ms(foremost)) // 60_000
        message = (
            f"items of {pipeline} have been queued for {minutes} minutes: more comes in "
            "than is done; `holdfast queues`"
        )
        found.append(Alert("queue-growth", pipeline, message))
    if watched.deadline_s is not None:
        begun = now_ms + round((seconds(rule.deadline_risk) - watched.deadline_s) * 1000)
        ((at_risk,),) = run("old_items", pipeline, first_id(begun))
        if at_risk:
            message = (
                f"items of {pipeline} will pass their deadline within "
                f"{rule.deadline_risk}: `holdfast stuck`, `holdfast queues --steps`"
            )
            found.append(Alert("deadline-risk", pipeline, message))
    return found
