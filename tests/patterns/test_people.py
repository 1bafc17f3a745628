"""Reviews wait in the ledger; one decision, of what was shown, by who may; uncertain steps go to a
person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast import App, InputError
from holdfast.errors import NotFoundError
from holdfast.testing import outside
from tests.pattern_samples import (
    Claim,
    Ruling,
    asking,
    decided,
    escalated,
    four_eyes,
    machine_or_person,
    wired,
)
from tests.patterns.conftest import Patterns


def test_a_review_waits_without_a_runner_and_its_answer_goes_on(run: Patterns, app: App) -> None:
    run(decided, Claim("a", 70))
    assert run.state("a")[0] == "waiting"
    found = run.review()
    assert (found["title"], found["by"], found["key"]) == (
        "May we pay?",
        ["anna", "adjusters"],
        "a",
    )
    assert b'"amount":70' in found["shown"]
    assert run.decide(Ruling("pay", 50, "less")) == "decided"
    run(decided)
    assert run.output("a") == "pay 50 less"
    (closed,) = app.reviews(state="closed")
    assert (closed["decided_by"], app.reviews()) == ("anna", [])


def test_a_decision_reaches_a_live_runner(run: Patterns) -> None:
    with run.runner(decided):
        list(run.app.submit_many(decided, [Claim("a", 70)]))
        run.wait(lambda: bool(run.app.reviews()))
        run.decide({"verdict": "refuse", "amount": 0})
        run.wait(lambda: run.state("a")[0] == "completed")
    assert run.output("a") == "refuse 0"


@pytest.mark.parametrize(
    ("answer", "digest", "who", "roles", "message"),
    [
        ({"verdict": "pay"}, None, "anna", (), "'amount' is a required property"),
        ({"verdict": "perhaps", "amount": 1}, None, "anna", (), "at verdict"),
        (
            {"verdict": "pay", "amount": 1},
            None,
            "carl",
            (),
            "anna, adjusters to decide, and 'carl' is none",
        ),
        ({"verdict": "pay", "amount": 1}, "0" * 12, "anna", (), "shows something else"),
        ({"verdict": "pay", "amount": 1}, "", "anna", (), "shows something else"),
    ],
)
def test_a_decision_is_refused(
    run: Patterns,
    app: App,
    answer: Any,
    digest: str | None,
    who: str,
    roles: tuple[str, ...],
    message: str,
) -> None:
    run(decided, Claim("a"))
    found = run.review()
    with pytest.raises(InputError, match=message):
        app.decide(
            found["review"], answer, found["digest"] if digest is None else digest, who, roles
        )
    assert len(app.reviews()) == 1
    with pytest.raises(NotFoundError):
        app.decide(99, answer, "0" * 64, who)


def test_it_is_made_once(run: Patterns, app: App) -> None:
    run(decided, Claim("a"))
    found = run.review()
    run.decide({"verdict": "pay", "amount": 1}, "carl", ("adjusters",))
    with pytest.raises(InputError, match="a decision is made once"):
        app.decide(found["review"], {"verdict": "refuse", "amount": 0}, found["digest"], "anna")


def test_four_eyes(run: Patterns) -> None:
    run(four_eyes, Claim("a"))
    assert run.decide({"verdict": "pay", "amount": 1}) == "proposed"
    with pytest.raises(InputError, match="second person"):
        run.decide({"verdict": "pay", "amount": 1})
    assert run.decide({"verdict": "pay", "amount": 2}, "bert") == "proposed", (
        "another answer is another proposal"
    )
    assert run.decide({"verdict": "pay", "amount": 2}, "anna") == "decided"
    run(four_eyes)
    assert run.output("a") == "pay 2"


def test_it_is_escalated_and_then_given_up(run: Patterns, app: App) -> None:
    with run.runner(escalated):
        list(app.submit_many(escalated, [Claim("a"), Claim("b")]))
        run.wait(lambda: [one["by"] for one in app.reviews()] == [["boss"], ["boss"]])
        first = app.reviews()[0]
        app.decide(first["review"], Ruling("pay", 1), first["digest"], "boss")
        run.wait(lambda: {run.state("a")[0], run.state("b")[0]} == {"completed", "dead"})
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert "nobody decided within 0.4 s after it was escalated" in dead_letter["message"]


def test_a_fallback_chain_may_end_with_a_person(run: Patterns) -> None:
    run(machine_or_person, Claim("small", 5), Claim("big", 500))
    assert run.output("small") == "pay 5"
    run.decide(Ruling("refuse", 0))
    run(machine_or_person)
    assert run.output("big") == "refuse 0"
    assert run.state("big")[1] == ["fallback-review"]


def test_an_unsafe_step_that_dies_midway_goes_to_a_person(run: Patterns, tmp_path: Path) -> None:
    run(wired, Claim("a", words="crash", folder=str(tmp_path)))
    assert run.state("a")[0] == "waiting"
    assert (tmp_path / "a").read_text() == "wired\n", "it did not run again"
    assert "crash" in run.review()["why"]
    run.decide({"verdict": "done", "value": "found in the books"})
    run(wired)
    assert run.output("a") == "found in the books"


@pytest.mark.parametrize(
    ("verdict", "state", "wired_times"), [("retry", "completed", 2), ("bury", "dead", 1)]
)
def test_the_person_may_say_again_or_never(
    run: Patterns, tmp_path: Path, verdict: str, state: str, wired_times: int
) -> None:
    run(wired, Claim("a", words="crash", folder=str(tmp_path)))
    run.decide({"verdict": verdict})
    run(wired)
    assert (run.state("a")[0], (tmp_path / "a").read_text().count("wired")) == (state, wired_times)


def test_a_decision_that_does_not_fit_the_step_is_a_dead_letter(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(wired, Claim("a", words="raise", folder=str(tmp_path)))
    run.decide({"verdict": "done", "value": 17})
    run(wired)
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert "does not fit" in dead_letter["message"]


def test_a_step_may_ask_when_it_has_failed_often_enough(run: Patterns, tmp_path: Path) -> None:
    run(asking, Claim("a", folder=str(tmp_path)))
    (tmp_path / "mended").touch()
    run.decide({"verdict": "retry"})
    run(asking)
    assert run.output("a") == "at last"


def test_plain_python() -> None:
    with outside(decisions={Ruling: lambda claim: Ruling("pay", claim.amount)}):
        assert decided(Claim("a", 3)) == "pay 3"
    with pytest.raises(InputError, match="say what a person decides"):
        decided(Claim("a"))
