"""``ctx.once``: an effect happens once, whatever becomes of the attempts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast import App, Context, InputError
from holdfast.executors.recorders import NoRecorder
from tests import pattern_samples
from tests.pattern_samples import Claim, charged, charged_async
from tests.patterns.conftest import Patterns


@pytest.mark.parametrize("words", ["", "crash"])
def test_in_a_worker_process(run: Patterns, tmp_path: Path, words: str) -> None:
    run(charged, Claim("a", words=words, folder=str(tmp_path)))
    assert run.output("a") == "charged in attempt 3"
    assert (tmp_path / "a").read_text() == "charged\n"


def test_on_the_event_loop(run: Patterns, tmp_path: Path) -> None:
    run(charged_async, Claim("a", folder=str(tmp_path)))
    assert run.output("a") == "charged in attempt 3"
    assert (tmp_path / "a").read_text() == "charged\n"


@pytest.mark.parametrize("label", [5, "", "a\0b", "a\ud800", "x" * 501])
def test_a_label_that_cannot_be_recorded_is_refused_before_the_effect(label: Any) -> None:
    done: list[str] = []
    with pytest.raises(InputError, match=r"ctx\.once\(.*give a text of 1 to 500 characters"):
        Context().once(label, lambda: done.append("charged"))
    assert not done


def test_what_nobody_awaits_has_no_effect_and_is_not_recorded() -> None:
    async def charge() -> str:
        raise AssertionError("it must not run")

    recorder = NoRecorder()
    with pytest.raises(TypeError, match=r"gives something to be awaited"):
        Context().once("a", lambda: charge())
    with pytest.raises(InputError, match="a transactional step"):
        Context(recorder=recorder).once("a", lambda: pytest.fail("before the effect"))


def test_an_effect_that_could_not_be_awaited_on_the_loop_is_not_had(tmp_path: Path) -> None:
    app = App(home=tmp_path / "home", ledger="", workers=1)
    app.run(
        [pattern_samples.charged_wrongly],
        [(pattern_samples.charged_wrongly, Claim("a", folder=str(tmp_path)))],
    )
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert "in an async step, give it an `async def`" in dead_letter["message"]
    assert not (tmp_path / "a").exists(), "not once, and not once for each attempt"


def test_in_plain_python_nothing_is_kept() -> None:
    assert Context().once("label", lambda: {"a": 1}) == {"a": 1}
    assert Context().traceparent == ""
