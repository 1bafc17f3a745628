"""Reviews, events, steps and artifacts from the command line, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import Shell

pytestmark = pytest.mark.slow

SAMPLES = "tests.pattern_samples"


@pytest.fixture
def holdfast(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "home")


def claim(key: str, amount: int = 0) -> str:
    return json.dumps({"id": key, "amount": amount})


def test_a_review_is_listed_shown_and_decided_once(holdfast: Shell) -> None:
    assert "1 wait for a person" in holdfast("run", f"{SAMPLES}:decided", claim("a", 70))
    (row,) = holdfast.json("reviews")
    assert (row["review"], row["key"], row["by"]) == (1, "a", ["anna", "adjusters"])
    assert "May we pay?" in holdfast("reviews")
    shown = holdfast("reviews", "show", "1")
    assert '"amount": 70' in shown
    assert '"pay" or "refuse"' in shown
    assert "waits for a person: `holdfast reviews show 1`" in holdfast("items", "show", "a")
    digest = holdfast.json("reviews", "show", "1")["digest"][:12]
    decide = ("reviews", "decide", "1", "--set", "verdict=pay", "--set", "amount=50")
    assert "--digest" in holdfast(*decide, "--as", "anna", code=2)
    assert "none of them" in holdfast(*decide, "--digest", digest, "--as", "carl", code=2)
    assert "no integer" in holdfast(
        "reviews", "decide", "1", "--set", "amount=lots", "--digest", digest, code=2
    )
    assert "the form has" in holdfast(
        "reviews", "decide", "1", "--set", "price=5", "--digest", digest, code=2
    )
    assert "--set FIELD=VALUE" in holdfast("reviews", "decide", "1", "--digest", digest, code=2)
    assert (
        holdfast(*decide, "--digest", digest, "--as", "carl", "--role", "adjusters").strip()
        == "review 1: decided"
    )
    assert "made once" in holdfast(*decide, "--digest", digest, "--as", "anna", code=2)
    holdfast("runner", SAMPLES, "--until-idle")
    assert holdfast.json("items", "show", "a")["output"] == "pay 50"
    assert holdfast("reviews").strip() == "no open reviews"
    assert "decided by carl" in holdfast("reviews", "show", "1")


def test_events_are_emitted_listed_and_drawn(holdfast: Shell) -> None:
    holdfast("run", f"{SAMPLES}:awaiting", claim("a"))
    assert "event payment.received about a" in holdfast("items", "show", "a")
    assert holdfast("events").strip() == "no events"
    paid = (
        "events",
        "emit",
        "payment.received",
        '{"claim": "a", "amount": 20}',
        "--key",
        "a",
        "--id",
        "one",
    )
    assert holdfast(*paid).strip() == "accepted"
    assert holdfast(*paid).startswith("known")
    holdfast("runner", SAMPLES, "--until-idle")
    assert holdfast.json("items", "show", "awaiting:a")["state"] == "completed"
    assert "payment.received" in holdfast("events", "--type", "payment.received")
    assert holdfast.json("events", "show", "one")["key"] == "a"
    assert "no refused deliveries" in holdfast("events", "--refused")
    assert "no event" in holdfast("events", "show", "two", code=2)
    assert "event name" in holdfast("events", "emit", "not a name", code=2)
    drawn = holdfast("graph", "--events", SAMPLES)
    assert "emitted by telling" in drawn
    assert "starts hearing" in drawn
    assert "-->" in holdfast("graph", "--events", SAMPLES, "--format", "mermaid")
    assert holdfast("graph", "--events", "--format", "svg").startswith("<svg")
    assert holdfast.json("graph", "--events")[0]["awaits"] == ["awaiting", "impatient"]


def test_steps_show_shares_and_passes(holdfast: Shell) -> None:
    holdfast("run", f"{SAMPLES}:sized", claim("a", 5), claim("b", 500), claim("c", 700))
    assert "66.7%" in holdfast("steps", "show", "sized")
    assert [
        one["case"]
        for one in holdfast.json("steps", "show", "sized", "route")["patterns"][0]["minutes"]
    ] in (
        ["large", "small"],
        ["small", "large"],
    )
    holdfast("run", f"{SAMPLES}:refined", claim("d"))
    shown = holdfast("steps", "show", "refined", "refine")
    assert "3.0 passes on average" in shown
    assert "size" in holdfast("steps", "list", "sized")
    assert "no pipeline" in holdfast("steps", "list", "nothing", code=2)
    assert "has no" in holdfast("steps", "show", "sized", "nothing", code=2)


def test_graphs_of_all_combinators_are_drawn(holdfast: Shell) -> None:
    for name, words in (
        ("by_rule", ", waited for:"),
        ("refined", "up to 5 passes:"),
        ("machine_or_person", "review"),
        ("family", "tens"),
    ):
        assert words in holdfast("graph", f"{SAMPLES}:{name}")
        assert holdfast("graph", f"{SAMPLES}:{name}", "--format", "svg").startswith("<svg")
        assert holdfast("graph", f"{SAMPLES}:{name}", "--format", "mermaid").startswith("flowchart")


def test_artifacts_are_purged_and_collected(holdfast: Shell) -> None:
    holdfast("run", "examples.patterns.p13_data:signals", "200000")
    assert "0 orphans" in holdfast("artifacts", "collect", "--dry-run")
    assert (
        holdfast("artifacts", "purge", "examples.patterns.p13_data").strip()
        == "cleared values of 1 items"
    )
    assert holdfast.json("artifacts", "collect", "--grace", "1ms", "--dry-run")["orphans"] > 0
    assert "removed" in holdfast("artifacts", "collect", "--grace", "1ms")
    assert holdfast.json("items", "show", "200000")["output"] == 100000.02
    assert holdfast.json("audit")["balanced"]
