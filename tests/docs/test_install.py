"""``requirements/`` names everything that the distribution needs, and installs it by hash."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from holdfast.release import VERSION

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FILES = {
    "runtime.txt": PROJECT["dependencies"],
    "dev.txt": [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]],
}


def _normal(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


@pytest.mark.parametrize("name", FILES)
def test_the_lists_name_every_dependency_with_its_hashes(name: str) -> None:
    entries = (ROOT / "requirements" / name).read_text().replace("\\\n", " ").splitlines()
    pins = [line for line in entries if line and not line.lstrip().startswith("#")]
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)
    pinned = {_normal(pin) for pin in pins}
    assert {_normal(one) for one in FILES[name]} - {_normal(PROJECT["name"])} <= pinned


@pytest.mark.parametrize("name", FILES)
def test_the_lists_name_no_index_and_no_folder(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert (
        re.findall(r"\w+://|--(?:index|extra-index|find-links|trusted)|/(?:tmp|opt)/", text) == []
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_fresh_environment_is_installed_by_hash(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    pip = (sys.executable, "-m", "pip", "--python", str(python))
    run(*pip, "install", "-q", "--require-hashes", "-r", f"{ROOT}/requirements/runtime.txt")
    run(*pip, "install", "-q", "--no-deps", str(ROOT))
    run(*pip, "check")
    assert VERSION in run(str(python.with_name("holdfast")), "--version")
