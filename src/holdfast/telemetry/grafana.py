"""A Grafana dashboard and Prometheus alert rules for a pipeline, from its declaration: its steps,
thresholds and deadline."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from holdfast.model.duration import seconds
from holdfast.model.pipeline import Pipeline

WIDTH, HEIGHT = 12, 8


def dashboard(pipeline: Pipeline[Any, Any]) -> dict[str, Any]:
    """The dashboard, importable as it is; its data source is a variable, its uid always the
    same."""
    of = f'pipeline="{pipeline.name}"'
    panels = [
        (
            "Items a minute",
            "short",
            [
                (
                    f"sum by (state) (rate(holdfast_items_ended_total{{{of}}}[5m])) * 60",
                    "{{state}}",
                ),
                (f"sum(rate(holdfast_items_admitted_total{{{of}}}[5m])) * 60", "admitted"),
            ],
        ),
        ("Items in hand", "short", [(f"sum by (state) (holdfast_items{{{of}}})", "{{state}}")]),
        (
            "Oldest queued item",
            "s",
            [(f"max(holdfast_oldest_queued_item_age_seconds{{{of}}})", "age")],
        ),
        ("Open dead letters", "short", [(f"max(holdfast_dead_letters{{{of}}})", "open")]),
        (
            "From admission to completion",
            "s",
            [
                (_quantile(q, "holdfast_item_duration_seconds", of, ""), f"p{round(q * 100)}")
                for q in (0.5, 0.95, 0.99)
            ],
        ),
        (
            "Steps: 95th percentile",
            "s",
            [(_quantile(0.95, "holdfast_step_duration_seconds", of, "step, "), "{{step}}")],
        ),
        (
            "Failed attempts a minute",
            "short",
            [
                (
                    (
                        "sum by (step, error_class) "
                        f"(rate(holdfast_attempts_failed_total{{{of}}}[5m])) * 60"
                    ),
                    "{{step}} {{error_class}}",
                )
            ],
        ),
        (
            "Funnel: tasks that succeeded, last hour",
            "short",
            [
                (
                    (
                        "sum by (step) "
                        f'(increase(holdfast_tasks_ended_total{{{of},state="succeeded"}}[1h]))'
                    ),
                    "{{step}}",
                )
            ],
        ),
        (
            "Tasks in hand",
            "short",
            [(f"sum by (step, state) (holdfast_tasks{{{of}}})", "{{step}} {{state}}")],
        ),
        (
            "Cost an hour: calls",
            "currencyUSD",
            [
                (
                    f"sum by (step) (rate(holdfast_step_cost_dollars_total{{{of}}}[1h])) * 3600",
                    "{{step}}",
                )
            ],
        ),
    ]
    return {
        "uid": "holdfast-" + hashlib.sha256(pipeline.name.encode()).hexdigest()[:12],
        "title": f"Holdfast: {pipeline.name}",
        "tags": ["holdfast"],
        "schemaVersion": 39,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "source",
                    "type": "datasource",
                    "query": "prometheus",
                    "label": "Data source",
                }
            ]
        },
        "panels": [_panel(number, *panel) for number, panel in enumerate(panels)],
    }


def rules(pipeline: Pipeline[Any, Any]) -> str:
    """Alert rules as a file for Prometheus (JSON, which is YAML); thresholds are those of the
    pipeline's own alerts."""
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


def _panel(number: int, title: str, unit: str, queries: list[tuple[str, str]]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": source,
        "gridPos": {"x": number % 2 * WIDTH, "y": number // 2 * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(65 + index),
                "datasource": source,
                "expr": expression,
                "legendFormat": legend,
            }
            for index, (expression, legend) in enumerate(queries)
        ],
    }
