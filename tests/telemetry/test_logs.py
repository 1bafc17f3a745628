"""Logs say which attempt wrote them; secrets stand nowhere; a notebook shows text as text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast import App, secret
from holdfast.errors import NotFoundError
from holdfast.model.drawing import svg
from holdfast.model.secrets import HIDDEN, redacted
from tests.telemetry_samples import Order, ordered

SECRET = "sk-live-0123456789"


@pytest.mark.parametrize("pipeline", ["leaks", "leaks_too"])
def test_logs_name_the_attempt_and_hide_secrets(pipeline: str, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "upstream-key").write_text(SECRET + "\n")
    environment = {
        **os.environ,
        "HOLDFAST_HOME": str(tmp_path / "home"),
        "HOLDFAST_SECRETS": str(tmp_path / "secrets"),
        "HOLDFAST_LOG": "json",
        "HOLDFAST_WORKERS": "1",
    }
    command = [
        sys.executable,
        "-m",
        "holdfast",
        "run",
        f"tests.telemetry_samples:{pipeline}",
        '{"id": "a", "number": 1}',
        "--json",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    (line,) = [one for one in lines if one["logger"] == "shop"]
    assert (line["message"], line["key"], line["attempt"]) == (f"calling with {HIDDEN}", "a", "1")
    assert line["step"].startswith("leaking")
    item = App(home=tmp_path / "home").item("a")
    assert (line["item"], line["trace"]) == (item["item"], item["trace"])
    assert item["dead_letters"][0]["message"] == f"401 for key {HIDDEN}"
    for file in (tmp_path / "home").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    assert SECRET not in done.stdout + done.stderr


def test_secrets_are_named_and_read_where_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOLDFAST_SECRETS", raising=False)
    with pytest.raises(NotFoundError, match="HOLDFAST_SECRETS names"):
        secret("nothing")
    with pytest.raises(NotFoundError, match="no name of a secret"):
        secret("../etc/passwd")
    monkeypatch.setenv("SHOP_TOKEN", "tok-abcdef")
    assert secret("SHOP_TOKEN") == "tok-abcdef"
    assert redacted("with tok-abcdef in it") == f"with {HIDDEN} in it"


def test_a_notebook_shows_a_pipeline_a_run_and_a_failure(tmp_path: Path) -> None:
    app = App(home=tmp_path, workers=1)
    result = app.run([ordered], [(ordered, Order("<b>a</b>", 3))])
    assert ordered._repr_svg_() == svg(ordered)
    assert "<td>received</td><td>1</td>" in result._repr_html_()
    shown = app.dead_letter(1)._repr_html_()
    assert "no such order" in shown
    assert "<pre>Traceback" in shown
    assert "&lt;b&gt;a&lt;/b&gt;" in shown
    assert "<b>" not in app.item("<b>a</b>")._repr_html_()
