"""``ctx.once``: an effect happens once, whatever becomes of the attempts."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import Context
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


def test_in_plain_python_nothing_is_kept() -> None:
    assert Context().once("label", lambda: {"a": 1}) == {"a": 1}
    assert Context().traceparent == ""
