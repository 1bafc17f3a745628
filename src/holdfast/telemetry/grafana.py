"""A Grafana dashboard and Prometheus alert rules for a pipeline, from its declaration."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from holdfast.model.duration import seconds
from holdfast.model.pipeline import Pipeline

WIDTH, HEIGHT = 12, 8


class _Panel(NamedTuple):
    """One graph.

    Attributes:
        title: its title.
        unit: Grafana's name of the unit.
        queries: expressions, each with its legend.
    """

    title: str
    unit: str
    queries: list[tuple[str, str]]


def dashboard(pipeline: Pipeline[Any, Any]) -> dict[str, Any]:
    """The dashboard, ready for import; its data source is a variable, its uid always the same."""
    of = f'pipeline="{pipeline.name}"'
    panels = [*_panels_of_items(of), *_panels_of_steps(of)]
    source = {
        "name": "source",
        "type": "datasource",
        "query": "prometheus",
        "label": "Data source",
    }
    return {
        "uid": "holdfast-" + hashlib.sha256(pipeline.name.encode()).hexdigest()[:12],
        "title": f"Holdfast: {pipeline.name}",
        "tags": ["holdfast"],
        "schemaVersion": 39,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [source]},
        "panels": [_drawn(number, panel) for number, panel in enumerate(panels)],
    }


def _panels_of_items(of: str) -> list[_Panel]:
    """Graphs of whole items; ``of`` selects the pipeline."""
    ended = f"sum by (state) (rate(holdfast_items_ended_total{{{of}}}[5m])) * 60"
    admitted = f"sum(rate(holdfast_items_admitted_total{{{of}}}[5m])) * 60"
    oldest = f"max(holdfast_oldest_queued_item_age_seconds{{{of}}})"
    durations = [
        (_quantile(q, "holdfast_item_duration_seconds", of, ""), f"p{round(q * 100)}")
        for q in (0.5, 0.95, 0.99)
    ]
    return [
        _Panel("Items a minute", "short", [(ended, "{{state}}"), (admitted, "admitted")]),
        _Panel(
            "Items in hand", "short", [(f"sum by (state) (holdfast_items{{{of}}})", "{{state}}")]
        ),
        _Panel("Oldest queued item", "s", [(oldest, "age")]),
        _Panel("Open dead letters", "short", [(f"max(holdfast_dead_letters{{{of}}})", "open")]),
        _Panel("From admission to completion", "s", durations),
    ]


def _panels_of_steps(of: str) -> list[_Panel]:
    """Graphs by step; ``of`` selects the pipeline."""
    slow = _quantile(0.95, "holdfast_step_duration_seconds", of, "step, ")
    failed = f"rate(holdfast_attempts_failed_total{{{of}}}[5m])"
    succeeded = f'increase(holdfast_tasks_ended_total{{{of},state="succeeded"}}[1h])'
    tasks = f"sum by (step, state) (holdfast_tasks{{{of}}})"
    cost = f"sum by (step) (rate(holdfast_step_cost_dollars_total{{{of}}}[1h])) * 3600"
    return [
        _Panel("Steps: 95th percentile", "s", [(slow, "{{step}}")]),
        _Panel(
            "Failed attempts a minute",
            "short",
            [(f"sum by (step, error_class) ({failed}) * 60", "{{step}} {{error_class}}")],
        ),
        _Panel(
            "Funnel: tasks that succeeded, last hour",
            "short",
            [(f"sum by (step) ({succeeded})", "{{step}}")],
        ),
        _Panel("Tasks in hand", "short", [(tasks, "{{step}} {{state}}")]),
        _Panel("Cost an hour: calls", "currencyUSD", [(cost, "{{step}}")]),
    ]


def rules(pipeline: Pipeline[Any, Any]) -> str:
    """Alert rules as a file for Prometheus (JSON, which is YAML).

    The thresholds are those of the pipeline's own alerts.
    """
    of, alerts = f'pipeline="{pipeline.name}"', pipeline.alerts
    runbook = "holdfast runbook MODULE, or /runbooks on the page"
    found = [
        _rule(
            "HoldfastDeadLetters",
            f"holdfast_dead_letters{{{of}}} >= {alerts.dead}",
            "2m",
            f"{alerts.dead} or more dead letters are open",
            runbook,
        ),
        _rule(
            "HoldfastDeadLetterAge",
            f"holdfast_oldest_dead_letter_age_seconds{{{of}}} > {seconds(alerts.dead_age):g}",
            "10m",
            f"a dead letter has waited for somebody for {alerts.dead_age}",
            runbook,
        ),
        _rule(
            "HoldfastQueueGrowth",
            f"holdfast_oldest_queued_item_age_seconds{{{of}}} > {seconds(alerts.queue_age):g}",
            "5m",
            f"items have been queued for {alerts.queue_age}",
            runbook,
        ),
        _rule(
            "HoldfastNoRunner",
            f"holdfast_runners == 0 and on () sum(holdfast_items{{{of}}}) > 0",
            "2m",
            "no runner is alive, and items wait",
            runbook,
        ),
        _rule(
            "HoldfastAway", "holdfast_dependency_away > 0", "5m", "a dependency is away", runbook
        ),
    ]
    if pipeline.deadline is not None:
        slow = (
            f"{_quantile(0.99, 'holdfast_item_duration_seconds', of, '')} > "
            f"{pipeline.deadline * 0.8:g}"
        )
        found.append(
            _rule(
                "HoldfastDeadlineRisk",
                slow,
                "10m",
                f"items take over 80 % of their deadline of {pipeline.deadline:g} s",
                runbook,
            )
        )
    for one in found:
        one["labels"]["pipeline"] = pipeline.name
    return (
        json.dumps({"groups": [{"name": f"holdfast-{pipeline.name}", "rules": found}]}, indent=2)
        + "\n"
    )


def _quantile(q: float, metric: str, of: str, by: str) -> str:
    return f"histogram_quantile({q:g}, sum by ({by}le) (rate({metric}_bucket{{{of}}}[15m])))"


def _rule(name: str, expression: str, lasting: str, summary: str, runbook: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": "warning"},
        "annotations": {"summary": summary, "runbook": runbook},
    }


def _drawn(number: int, panel: _Panel) -> dict[str, Any]:
    """A panel as Grafana's JSON, at its place in a grid of two columns."""
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {"x": number % 2 * WIDTH, "y": number // 2 * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(65 + index),
                "datasource": source,
                "expr": expression,
                "legendFormat": legend,
            }
            for index, (expression, legend) in enumerate(panel.queries)
        ],
    }
