"""Modules of every name and place, scripts, notebooks and other interpreters: served, or refused
before anything is accepted."""

from __future__ import annotations

import os
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from holdfast import App
from holdfast.errors import WorkersError
from holdfast.modules import interpreter

FLOW = """
from holdfast import pipeline, step

@step()
def work(x: str) -> str:
    return "{name}:" + x

@pipeline(version="1", key=str)
def {name}(x: str) -> str:
    return work(x)
"""
RUN = "from holdfast import App\nprint(App().run([docs], [(docs, 'a')]))\n"


def python(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run this interpreter in a folder with a home of its own."""
    environment = {**os.environ, "HOLDFAST_HOME": str(folder / "home"), "HOLDFAST_WORKERS": "1"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def accepted(folder: Path) -> int:
    """Items that the folder's home has."""
    if not (folder / "home" / "ledger.db").exists():
        return 0
    return sum(row["received"] for row in App(home=folder / "home", ledger="").reads().status())


def test_one_runner_serves_files_of_one_name_and_a_folder_that_shadows_the_standard_library(
    tmp_path: Path,
) -> None:
    for name, flow in {
        "a/flow.py": "one",
        "b/flow.py": "two",
        "shadow/flow.py": "three",
        "shadow/tokenize.py": "four",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(FLOW.format(name=flow))
    for broken in ("enum", "msgspec", "asyncio"):
        (tmp_path / "shadow" / f"{broken}.py").write_text("raise RuntimeError('the wrong one')\n")
    shadow = tmp_path / "shadow"
    targets = ["../a/flow.py", "../b/flow.py", "flow.py", "tokenize.py"]
    submit = (
        "from holdfast import App\nfrom holdfast.cli.loading import load_pipeline\nfor one "
        f"in {targets!r}:\n"
        "    list(App().submit_many(load_pipeline(one), ['x']))"
    )
    assert python(shadow, "-P", "-c", submit).returncode == 0
    done = python(shadow, "-P", "-m", "holdfast", "runner", *targets, "--until-idle")
    assert (done.returncode, done.stdout.count("1 completed")) == (0, 4), done.stdout + done.stderr


NO_FILE = "defined in a notebook, at a prompt, on stdin or with -c"


@pytest.mark.parametrize("how", ["script", "function", "command", "stdin", "prompt"])
def test_a_program_that_workers_cannot_import_is_refused_at_once(how: str, tmp_path: Path) -> None:
    text = FLOW.format(name="docs") + RUN
    if how == "function":
        text = FLOW.format(name="docs") + (
            "def main():\n    from holdfast import App\n    App().run([docs], [(docs, "
            "'a')])\nmain()\n"
        )
    (tmp_path / "program.py").write_text(text)
    (tmp_path / "empty.py").write_text("")
    match how:
        case "command":
            done = python(tmp_path, "-c", text)
        case "stdin":
            done = python(tmp_path, "-", stdin=text)
        case "prompt":  # what IPython's %run and cells after it are
            done = python(
                tmp_path, "-i", "empty.py", stdin=f"exec(compile({text!r}, '<cell>', 'exec'))\n"
            )
        case _:
            done = python(tmp_path, "program.py")
    message = (
        "would run again when a worker imports that file: put what the program does below"
        if how in ("script", "function")
        else NO_FILE
    )
    assert "ModuleError: step 'work' of pipeline 'docs' is a plain def" in done.stderr
    assert message in done.stderr
    assert accepted(tmp_path) == 0


IN_A_THREAD = """
import threading
from holdfast import App
one = threading.Thread(target=lambda: print(App().run([docs], [(docs, "a")])))
one.start()
one.join()
"""
OTHER_GRAPH = """
import sys
body = work if sys.argv[0].endswith("program.py") else lambda x: work(work(x))
@pipeline(version="2", key=str)
def other(x: str) -> str:
    return body(x)
if __name__ == "__main__":
    from holdfast import App
    App().run([other], [(other, "a")])
"""


def test_a_graph_that_differs_in_workers_is_refused_before_anything_is_accepted(
    tmp_path: Path,
) -> None:
    (tmp_path / "program.py").write_text(FLOW.format(name="docs") + OTHER_GRAPH)
    done = python(tmp_path, "program.py")
    assert (
        "WorkersError: worker processes cannot import program: pipeline 'other' of program "
        "has another graph in a worker"
    ) in done.stderr
    assert accepted(tmp_path) == 0


def test_a_runner_that_a_module_starts_in_a_thread_is_no_runner_in_a_worker(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(FLOW.format(name="docs") + IN_A_THREAD)
    done = python(tmp_path, "program.py")
    assert (
        "calls App.run while a worker imports it, which would run it once more: put what the "
        "program does below"
    ) in done.stderr
    assert (done.stdout.count("RunResult(received=1"), accepted(tmp_path)) == (1, 1)


@pytest.mark.parametrize("how", ["script", "package", "archive"])
def test_a_program_below_its_main_guard_runs(how: str, tmp_path: Path) -> None:
    text = (
        FLOW.format(name="docs")
        + "import beside\nif __name__ == '__main__':\n"
        + "".join(f"    {line}\n" for line in RUN.splitlines())
    )
    folder = tmp_path / "pkg"
    folder.mkdir()
    (folder / "beside.py").write_text("")
    (folder / ("my script.v2.py" if how == "script" else "__main__.py")).write_text(text)
    if how == "package":
        (folder / "__init__.py").write_text("")
        (folder / "__main__.py").write_text(text.replace("import beside", "from . import beside"))
    if how == "archive":
        zipapp.create_archive(folder, tmp_path / "app.pyz")
    words = {"script": ("pkg/my script.v2.py",), "package": ("-m", "pkg"), "archive": ("app.pyz",)}[
        how
    ]
    done = python(tmp_path, *words)
    assert "RunResult(received=1" in done.stdout, done.stderr
    (row,) = App(home=tmp_path / "home", ledger="").reads().status()
    assert row["completed"] == 1


DEADLY = """
import os, pathlib
from holdfast import App, Retry, pipeline, step

@step(retry=Retry(base="1ms", cap="5ms"))
async def kill(x: str) -> str:
    deaths = pathlib.Path("deaths")
    count = len(deaths.read_text()) if deaths.exists() else 0
    deaths.write_text("x" * (count + 1))
    if count < 2:
        os._exit(9)
    return x

@pipeline(version="1", key=str)
def docs(x: str) -> str:
    return kill(x)

App().run([docs], [(docs, "a")])
"""


def test_an_async_step_of_a_notebook_that_its_runners_died_around_is_counted_and_goes_on(
    tmp_path: Path,
) -> None:
    codes = [python(tmp_path, "-c", DEADLY).returncode for _ in range(3)]
    assert codes == [9, 9, 0]
    reads = App(home=tmp_path / "home", ledger="").reads()
    (row,) = reads.status()
    timeline = reads.item(reads.item_by_key("a") or 0)["timeline"]
    reads.close()
    assert row["completed"] == 1
    assert [(one["error_class"], one["error"]) for one in timeline if one["state"] == "failed"] == [
        ("crash", "RunnerDied")
    ]


def test_workers_start_under_this_very_interpreter_whatever_sys_executable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    command = interpreter.worker_command()
    assert os.path.samefile(command[0], "/proc/self/exe")
    monkeypatch.setattr(interpreter, "_candidates", lambda named: ["/bin/true", str(tmp_path)])
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(WorkersError, match="sys.executable is '', and no interpreter was found"):
        interpreter.worker_command()


def test_a_worker_gets_holdfast_from_where_its_runner_has_it(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(FLOW.format(name="docs"))
    (tmp_path / "holdfast.py").write_text("raise RuntimeError('the wrong one')\n")
    paths = [one for one in sys.path if one and "lib/python3" not in one] + [
        one for one in sys.path if "packages" in one
    ]
    bare = Path(sys.base_exec_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    text = (
        f"import sys; sys.path[:0] = {paths!r}; sys.path.append({str(tmp_path)!r})\nfrom "
        f"flow import docs\n{RUN}"
    )
    environment = {**os.environ, "HOLDFAST_HOME": str(tmp_path / "home"), "HOLDFAST_WORKERS": "1"}
    done = subprocess.run(
        [str(bare), "-P", "-c", text],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "RunResult(received=1" in done.stdout, done.stderr
