"""A folder of hostile inputs: every entry of ``find`` is a key, a printed refusal or a printed
skip, and no key is anything else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
TARGET = "tests.intake_samples:filed"


def holdfast(home: Path, *words: str, code: int = 0) -> Any:
    environment = {
        **os.environ,
        "HOLDFAST_HOME": str(home),
        "HOLDFAST_WORKERS": "1",
        "HOLDFAST_INPUT_MB": "1",
    }
    command = [sys.executable, "-m", "holdfast", *words]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that a folder may hold to annoy whoever reads it."""
    root = tmp_path / "in"
    for sub in ("one", "two", "empty", ".hidden"):
        (root / sub).mkdir(parents=True)
    for file in (
        "one/same.txt",
        "two/same.txt",
        "two/SAME.TXT",
        "zero.txt",
        "new\nline.txt",
        " blank .txt",
        "back\\xff.txt",
        "$(true) 'q'.txt",
    ):
        (root / file).write_text(file)
    (root / "nothing.txt").touch()
    (root / "raise.txt").write_text("raise")
    (root / ".dot.txt").write_text("dot")
    (root / ".hidden" / "below.txt").write_text("hidden")
    os.mkfifo(root / "pipe")
    (root / "link.txt").symlink_to(root / "zero.txt")
    (root / "broken-link.txt").symlink_to(root / "nowhere")
    (root / "loop").symlink_to(root)
    (root / "one" / "loop").symlink_to("loop")
    with monkeypatch.context() as there, socket.socket(socket.AF_UNIX) as here:
        there.chdir(root)  # the path of a socket has at most 107 bytes
        here.bind("socket")
    with open(root / "enormous.bin", "wb") as sparse:
        sparse.truncate(1 << 40)
    (Path(os.fsdecode(os.fsencode(root) + b"/bad\xff.txt"))).write_text("undecodable")
    bad = Path(os.fsdecode(os.fsencode(root) + b"/folder\xfe"))
    bad.mkdir()
    (bad / "inside.txt").write_text("in a folder whose name is not UTF-8")
    deep = root / "deep"
    for _ in range(30):
        deep = deep / ("d" * 100)
    deep.mkdir(parents=True)
    (deep / "bottom.txt").write_text("deep")
    return root


def test_every_entry_is_accounted_for_and_no_key_is_made_up(folder: Path, tmp_path: Path) -> None:
    home = folder / "home"
    holdfast(home, "submit", "tests.intake_samples:rows", '{"id": "r-1"}')
    found = subprocess.run(
        ["find", str(folder), "-print0"], capture_output=True, check=True
    ).stdout.split(b"\0")[:-1]
    done = holdfast(home, "run", TARGET, str(folder), str(folder / "one"), "--json", code=4)
    answer = json.loads(done.stdout)
    refused = {one["source"] for one in answer["refused"]}
    skipped = {one["path"] for one in answer["skipped"]}
    assert (len(refused), len(skipped)) == (len(answer["refused"]), len(answer["skipped"]) - 1), (
        "each is named once; one/loop was given twice"
    )
    (tmp_path / "manifest").write_bytes(
        b"\0".join(os.path.relpath(one, os.fsencode(folder)) for one in found)
    )
    audit = json.loads(
        holdfast(
            home,
            "audit",
            "--manifest",
            str(tmp_path / "manifest"),
            "--pipeline",
            "filed",
            "--json",
            code=1,
        ).stdout
    )["manifest"]
    refused_keys = {one["key"] for one in audit["refused"]}
    for entry in found:
        shown = entry.decode("utf-8", "backslashreplace")
        below = os.path.relpath(entry, os.fsencode(folder)).decode("utf-8", "backslashreplace")
        received = below not in audit["missing"] and below not in refused_keys
        told = any(shown == one or shown.startswith(f"{one}/") for one in refused | skipped)
        folders = os.path.isdir(entry) and not os.path.islink(entry)
        assert received or told or below in refused_keys or folders, f"{below} is not accounted for"
        assert not (received and told), below
    assert audit["unexpected"] == ["same.txt"], "of the folder that was given alone"
    reasons = {one["reason"] for one in answer["skipped"]}
    assert reasons == {
        "link",
        "dot file",
        "hidden folder",
        "named pipe",
        "socket",
        "empty folder",
        "Holdfast's own files",
    }
    kinds = {os.path.basename(one["source"]): one["reason"] for one in answer["refused"]}
    assert "larger than allowed" in kinds["enormous.bin"]
    assert "not UTF-8" in kinds["bad\\xff.txt"]
    assert "nothing in it was read" in kinds["folder\\xfe"]
    assert "RuntimeError: this sheet breaks" in kinds["raise.txt"]


def test_the_folder_may_lie_in_the_home_and_skips_are_counted_on_the_terminal(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "home" / "artifacts"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    outside = tmp_path / "in"
    outside.mkdir()
    for name in (".a", ".b", "c.txt"):
        (outside / name).write_text(name)
    done = holdfast(tmp_path / "home", "submit", TARGET, str(outside))
    assert "skipped: 2 × dot file" in done.stderr
    assert [line.split("\t")[1:] for line in done.stdout.splitlines()] == [["c.txt", "accepted"]]
    done = holdfast(tmp_path / "home", "submit", TARGET, str(folder), str(outside), code=4)
    assert f"not accepted: {folder}: is among Holdfast's own files" in done.stderr, (
        "it was named, and not accepted"
    )
    assert "(0 new, 1 known, 1 refused)" in done.stderr
