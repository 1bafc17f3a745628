"""The claims example: generated documents with known truth go through the real models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.claims import train
from examples.claims.entities import Tagger, amount, date, number
from examples.claims.generate import documents
from examples.claims.ingest import ingest_file
from examples.claims.pipeline import claims
from examples.claims.types import Line, Text, Upload
from holdfast import BadInputError


def test_the_generator_is_deterministic() -> None:
    first = [(upload.name, upload.content) for upload, _ in documents(3, 3, 2)]
    again = [(upload.name, upload.content) for upload, _ in documents(3, 3, 2)]
    assert [name for name, _ in first] == [name for name, _ in again]
    assert [content for name, content in first if "encrypted" not in name] == [
        content for name, content in again if "encrypted" not in name
    ]


def test_broken_files_are_refused_with_the_reason() -> None:
    reasons = {}
    for upload, truth in documents(3, 0, 0):
        if truth.condition == "broken" and upload.name != "broken-blank.pdf":
            with pytest.raises(BadInputError) as caught:
                ingest_file(upload)
            reasons[upload.name] = str(caught.value)
    assert "encrypted" in reasons["broken-encrypted.pdf"]
    assert "empty" in reasons["broken-empty.pdf"]
    assert "enormous" in reasons["broken-enormous.pdf"]
    assert "neither" in reasons["broken-script.jpg"]


def test_digital_documents_are_read_right_as_plain_python() -> None:
    for upload, truth in documents(4, 6, 0):
        if (
            truth.condition == "clean"
            and truth.name.endswith(".pdf")
            and not truth.name.startswith("short")
        ):
            record = claims(upload)
            assert record.kind == truth.kind
            assert {name: getattr(record, name) for name in truth.fields} == truth.fields


def test_the_small_models_are_as_good_as_their_page_says() -> None:
    assert train.test_tagger(5) >= 0.98
    assert train.test_classifier(6) >= 0.98


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Claim no. CLM-2025-12345", ("CLM-2025-12345", "", "")),
        (
            "clm 2025 12345 on 31 February 2025, then 1 March 2025",
            ("CLM-2025-12345", "2025-03-01", ""),
        ),
        ("2025-13-45 and 2025-12-05", ("", "2025-12-05", "")),
        ("Total: EUR 1,234.56", ("", "", "1234.56")),
        ("nothing", ("", "", "")),
    ],
)
def test_patterns(text: str, wanted: tuple[str, str, str]) -> None:
    assert (number(text), date(text), amount(Text([Line(text, 0, 0, 0, 1, 1)]))) == wanted


def test_hostile_text_harms_no_one() -> None:
    assert (
        Tagger()(Text([Line("\x00\x1b[31m ''); drop table items; --" * 50, 0, 0, 0, 1, 1)])).number
        == ""
    )
    with pytest.raises(BadInputError):
        ingest_file(Upload("x", b"%PDF-1.4 garbage"))


def test_a_small_demo_is_balanced_and_right(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "holdfast",
        "demo",
        "-o",
        str(tmp_path / "demo"),
        "--digital",
        "4",
        "--scanned",
        "2",
        "--json",
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "HOLDFAST_WORKERS": "2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["balanced"]
    assert (report["received"], report["completed"], report["dead"]) == (17, 8, 9)
    assert report["accuracy"]["kind"] >= 0.95
    assert report["accuracy"]["fields_clean"] >= 0.95
    assert {cause["error_class"] for cause in report["causes"]} <= {"bad-input", "model"}
    assert report["flags"]["fallback-keywords"] == 2
    assert len(list((tmp_path / "demo" / "records").glob("*.json"))) == 8
