"""Routes by an enum, refinements with feedback; and what the command line says of them."""

from __future__ import annotations

import pytest

from holdfast import App, DefinitionError, case, pipeline, refine, route
from tests.pattern_samples import (
    Claim,
    Size,
    best_of,
    draft,
    given_up,
    judge,
    refined,
    size,
    sized,
    small,
)
from tests.patterns.conftest import Patterns


def test_only_the_chosen_way_runs_and_shares_are_kept_per_minute(run: Patterns, app: App) -> None:
    run(sized, Claim("a", 5), Claim("b", 500), Claim("c", 700))
    assert (run.output("a"), run.output("b")) == ("small", 500)
    assert not [step for step, _, _ in run.steps("a") if step.endswith("large")]
    (found,) = app.reads().patterns("sized", 0, 5)
    assert found["shares"] == [
        {"case": "large", "items": 2, "share": 0.6667},
        {"case": "small", "items": 1, "share": 0.3333},
    ]
    assert sum(one["items"] for one in found["minutes"]) == 3


def test_every_member_of_an_enum_needs_a_case() -> None:
    with pytest.raises(DefinitionError, match="no case for <Size.LARGE"):

        @pipeline(version="1", key=lambda claim: claim.id)
        def half(claim: Claim) -> str:
            return route(case(Size.SMALL, small))(size(claim), claim)


def test_feedback_goes_to_the_next_pass(run: Patterns, app: App) -> None:
    run(refined, Claim("a"))
    assert run.output("a") == "xxx"
    assert run.state("a")[1] == []
    assert [element_path for step, element_path, _ in run.steps("a") if step == "refine/draft"] == [
        "0",
        "1",
        "2",
    ]
    (found,) = app.reads().patterns("refined", 0, 5)
    assert (found["passes"], found["mean_passes"]) == ([{"passes": 3, "items": 1}], 3.0)
    assert [(one["key"], one["passes"]) for one in found["worst"]] == [("a", 3)]


def test_an_exhausted_refinement_gives_the_best_with_a_flag_or_a_dead_letter(
    run: Patterns, app: App
) -> None:
    run(best_of, Claim("a"))
    assert run.output("a") == "x"
    assert run.state("a")[1] == ["not-converged"]
    run(given_up, Claim("b"))
    (dead_letter,) = app.reads().dead_letters("given_up", "open", 9)
    assert (dead_letter["step"], dead_letter["message"]) == (
        "refine",
        "no draft was good enough after 2 passes",
    )
    app.redrive([dead_letter["dead_letter"]])
    run(given_up)
    assert run.state("b")[0] == "dead"


def test_plain_python() -> None:
    assert (refined(Claim("a")), best_of(Claim("a"))) == ("xxx", "x")
    with pytest.raises(RuntimeError, match="good enough"):
        given_up(Claim("a"))
    with pytest.raises(
        DefinitionError, match="max_iterations=0 is not allowed: give a whole number from 1"
    ):
        refine(draft, judge, until=lambda verdict: True, max_iterations=0)
