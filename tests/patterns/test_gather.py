"""Branches are joined once, by their rule; what is missing leaves a flag, what is late is stopped
or recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import App, DefinitionError, branch, gather
from holdfast.core.combinators.gather import verdict
from holdfast.model.specs import GatherSpec
from tests.pattern_samples import Claim, all_of, by_deadline, by_rule, late_ones, quick, two_of
from tests.patterns.conftest import Patterns


def test_without_a_rule_every_branch_is_needed(run: Patterns) -> None:
    run(all_of, Claim("a"), Claim("b", words="other fails"))
    assert run.output("a") == "quick other"
    assert run.state("b")[0] == "dead"


def test_a_quorum_fires_when_it_is_there_and_stops_the_others(
    run: Patterns, tmp_path: Path
) -> None:
    run(two_of, Claim("a", words="hang", folder=str(tmp_path)))
    assert run.output("a") == "quick other -"
    assert run.state("a") == ("completed", ["missing-slow"])
    assert ("gather/slow", "", "cancelled") in run.steps("a")
    assert (tmp_path / "stopped").exists(), "the attempt was really stopped"


def test_a_quorum_that_cannot_be_reached_is_a_dead_item(run: Patterns) -> None:
    run(two_of, Claim("a", words="quick fails other fails"))
    assert run.state("a")[0] == "dead"


def test_a_branch_that_fails_leaves_none_a_flag_and_a_dead_letter_that_can_be_redriven_alone(
    run: Patterns, app: App
) -> None:
    run(by_deadline, Claim("a", words="quick fails"))
    assert run.state("a")[0] == "dead", "nothing was there after 300 ms"
    run(two_of, Claim("b", words="quick fails"))
    assert run.output("b") == "- other slow"
    (dead_letter,) = app.reads().dead_letters("two_of", "open", 9)
    assert dead_letter["step"] == "gather/quick"
    app.redrive([dead_letter["dead_letter"]])
    run(two_of)
    assert run.state("b")[0] == "completed"
    assert run.item("b")["generation"] == 2
    assert [step for step, _, state in run.steps("b") if state == "failed"] == [
        "gather/quick",
        "gather/quick",
    ]
    assert run.steps("b").count(("gather/other", "", "succeeded")) == 1, (
        "what had succeeded did not run again"
    )


def test_at_the_deadline_it_takes_what_is_there(run: Patterns) -> None:
    run(by_deadline, Claim("a", words="hang"))
    assert run.output("a") == "quick -"
    assert run.state("a")[1] == ["missing-slow"]


def test_what_is_late_is_recorded_if_that_is_declared(run: Patterns) -> None:
    run(late_ones, Claim("a"))
    assert run.output("a") == "quick -"
    assert run.state("a")[1] == ["late-slow", "missing-slow"]
    assert ("gather/slow", "", "succeeded") in run.steps("a")


def test_what_is_still_late_when_the_item_ends_is_stopped(run: Patterns) -> None:
    run(late_ones, Claim("a", words="hang"))
    assert run.state("a") == ("completed", ["missing-slow"])
    assert ("gather/slow", "", "cancelled") in run.steps("a")


def test_each_branch_may_have_a_rule_of_its_own(run: Patterns) -> None:
    run(by_rule, Claim("a"), Claim("b", words="other fails"), Claim("c", words="quick fails"))
    assert run.output("a") == "quick other -"
    assert run.output("b") == "quick - -"
    assert run.state("b")[1] == ["missing-other", "missing-slow"]
    assert run.state("c")[0] == "dead"


def test_plain_python_gives_every_branch_the_time_to_end() -> None:
    assert two_of(Claim("a")) == "quick other slow"
    assert two_of(Claim("a", words="quick fails")) == "- other slow"
    with pytest.raises(Exception, match="other"):
        all_of(Claim("b", words="other fails"))


@pytest.mark.parametrize(
    ("spec", "there", "failed", "overdue", "expected"),
    [
        (GatherSpec(("fail", "fail")), {0}, set(), False, "wait"),
        (GatherSpec(("fail", "fail")), {0, 1}, set(), False, "join"),
        (GatherSpec(("fail", "fail")), {0}, {1}, False, "fail"),
        (GatherSpec(("proceed",) * 3, quorum=2), {0}, {1}, False, "wait"),
        (GatherSpec(("proceed",) * 3, quorum=2), {0, 2}, set(), False, "join"),
        (GatherSpec(("proceed",) * 3, quorum=2), {0}, {1, 2}, False, "fail"),
        (GatherSpec(("proceed",) * 2, deadline_s=1.0), {0}, set(), False, "wait"),
        (GatherSpec(("proceed",) * 2, deadline_s=1.0), {0}, set(), True, "join"),
        (GatherSpec(("proceed",) * 2, deadline_s=1.0), set(), set(), True, "join"),
        (GatherSpec(("proceed",) * 2, deadline_s=1.0), {0}, {1}, False, "join"),
        (GatherSpec(("proceed",) * 2, quorum=2, deadline_s=1.0), {0}, set(), True, "fail"),
        (GatherSpec(("fail", "proceed"), deadline_s=1.0), {1}, set(), True, "fail"),
        (GatherSpec(("wait", "proceed"), deadline_s=1.0), {1}, set(), True, "wait"),
        (GatherSpec(("wait", "proceed"), quorum=1), {1}, {0}, False, "join"),
        (GatherSpec(("fail", "proceed")), {0}, set(), False, "join"),
    ],
)
def test_the_rule(
    spec: GatherSpec, there: set[int], failed: set[int], overdue: bool, expected: str
) -> None:
    assert verdict(spec, there, failed, overdue) == expected


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(DefinitionError, match="at least two"):
        gather(quick)  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="it has 2 branches"):
        gather(quick, quick, quorum=3)
    with pytest.raises(DefinitionError, match="'fail', 'wait' or 'proceed'"):
        branch(quick, missing="perhaps")  # type: ignore[arg-type]
