"""Metrics as Prometheus reads them: checked by its own tool, equal to an independent count, growing
only."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from holdfast import App
from holdfast.telemetry.grafana import dashboard, rules
from holdfast.telemetry.prometheus import Totals, exposition
from tests.telemetry.conftest import Patterns
from tests.telemetry_samples import Order, ordered

PROMTOOL = shutil.which("promtool")


def values(text: str) -> dict[str, float]:
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line and not line.startswith("#")
    }


def test_counters_are_what_happened_and_go_on_in_another_process(run: Patterns, app: App) -> None:
    run(ordered, *[Order(f"o{n}", n) for n in range(1, 7)])
    totals = Totals()
    first = values(exposition(app.reads(), totals, app.clock).decode())
    assert first['holdfast_items_admitted_total{pipeline="ordered"}'] == 6
    assert first['holdfast_items_ended_total{pipeline="ordered",state="completed"}'] == 4
    assert first['holdfast_tasks_ended_total{pipeline="ordered",state="dead",step="checked"}'] == 2
    assert first['holdfast_item_duration_seconds_count{pipeline="ordered"}'] == 4
    assert first['holdfast_item_duration_seconds_bucket{le="+Inf",pipeline="ordered"}'] == 4
    assert first['holdfast_dead_letters{pipeline="ordered"}'] == 2
    run(ordered, Order("more", 1))
    second = values(exposition(app.reads(), totals, app.clock).decode())
    fresh = values(exposition(app.reads(), Totals(), app.clock).decode())
    assert second == {
        **fresh,
        **{name: value for name, value in second.items() if "age_seconds" in name},
    }, "whoever is asked says the same"
    counters = [name for name in first if re.search(r"_(total|count|bucket|sum)($|{)", name)]
    assert all(second[name] >= first[name] for name in counters)
    assert not any("o1" in name for name in second), "no item is a label"


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")
def test_promtool_finds_nothing_wrong(run: Patterns, app: App) -> None:
    run(ordered, Order("a", 1), Order("b", 3))
    text = exposition(app.reads(), Totals(), app.clock)
    done = subprocess.run(
        [PROMTOOL or "", "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_dashboards_ask_only_for_what_there_is(run: Patterns, app: App, tmp_path: Path) -> None:
    run(ordered, Order("a", 1), Order("b", 3))
    there = set(
        re.findall(
            r"^# TYPE (\w+) ", exposition(app.reads(), Totals(), app.clock).decode(), re.MULTILINE
        )
    )
    drawn = dashboard(ordered)
    asked = {
        name
        for panel in drawn["panels"]
        for target in panel["targets"]
        for name in re.findall(r"holdfast_\w+", target["expr"])
    }
    asked |= set(re.findall(r"holdfast_\w+", rules(ordered)))
    assert len(asked) >= 10
    assert {re.sub(r"_bucket$", "", name) for name in asked} <= there
    assert drawn["uid"] == dashboard(ordered)["uid"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in drawn["panels"]]
    assert len(set(places)) == len(places)


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")
def test_promtool_takes_the_rules_and_they_fire(tmp_path: Path) -> None:
    (tmp_path / "ordered.rules.yml").write_text(rules(ordered))
    trial = {
        "rule_files": ["ordered.rules.yml"],
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": 'holdfast_dead_letters{pipeline="ordered"}', "values": "0x5 5000x20"}
                ],
                "alert_rule_test": [
                    {"eval_time": "4m", "alertname": "HoldfastDeadLetters", "exp_alerts": []},
                    {
                        "eval_time": "12m",
                        "alertname": "HoldfastDeadLetters",
                        "exp_alerts": [
                            {
                                "exp_labels": {"severity": "warning", "pipeline": "ordered"},
                                "exp_annotations": {
                                    "summary": "1000 or more dead letters are open",
                                    "runbook": "holdfast runbook MODULE, or /runbooks on the page",
                                },
                            }
                        ],
                    },
                ],
            }
        ],
    }
    (tmp_path / "trial.yml").write_text(json.dumps(trial))
    for command in (["check", "rules", "ordered.rules.yml"], ["test", "rules", "trial.yml"]):
        done = subprocess.run(
            [PROMTOOL or "", *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
