"""How users' modules are named, found and imported: by this process and by one that does as workers
do."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from holdfast import App, Pipeline, step
from holdfast.cli.loading import load_module, load_pipeline, load_pipelines
from holdfast.errors import DefinitionError, HoldfastError, ModuleError
from holdfast.modules import pipelines as pipelines_module
from holdfast.modules.guard import as_worker, refuse_in_worker
from holdfast.modules.path import OwnFiles
from holdfast.modules.pipelines import (
    Code,
    code_for,
    held,
    module_of,
    shown_module,
    source_of,
    sources_of,
)
from holdfast.modules.targets import Target, read_target
from tests.samples import Order, average, retried

FLOW = """
from holdfast import pipeline, step

@step()
def work(x: str) -> str:
    return "{name}:" + x

@pipeline(version="1", key=str)
def {name}(x: str) -> str:
    return work(x)
"""

AS_WORKER = """
import sys
from holdfast.errors import ModuleError
from holdfast.modules.pipelines import apply_path, load_pipeline, unpacked
code = unpacked(sys.stdin.buffer.read())
apply_path(code)
for source in code.sources:
    try:
        print(load_pipeline(source).name)
    except ModuleError as error:
        print("refused:", error)
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a file with a pipeline below an empty working directory; what is imported meanwhile is
    forgotten."""
    home = tmp_path / "work"
    home.mkdir()
    monkeypatch.chdir(home)
    path, finders, known = sys.path[:], sys.meta_path[:], set(sys.modules)
    # another test's files are nobody's here
    sys.meta_path[:] = [one for one in finders if not isinstance(one, OwnFiles)]

    def make(name: str, flow: str = "", before: str = "", after: str = "") -> Path:
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(before + (FLOW.format(name=flow) if flow else "") + after, "utf-8")
        return file

    yield make
    sys.path[:], sys.meta_path[:] = path, finders
    for name in set(sys.modules) - known:
        del sys.modules[name]


def in_a_worker(code: Code) -> list[str]:
    """What a fresh process makes of these pipelines, when it imports them as a worker does."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", AS_WORKER],
        input=code.packed(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()


def code_of(pipelines: list[Pipeline[Any, Any]]) -> Code:
    """What a worker is sent."""
    return code_for(sources_of(pipelines))


def refusal(what: Callable[[], object]) -> str:
    """The message with which it is refused."""
    with pytest.raises(ModuleError) as refused:
        what()
    return str(refused.value)


def test_files_of_any_name_and_place_load_the_same_way_in_runner_and_worker(
    write: Write, tmp_path: Path
) -> None:
    write("a/flow.py", "invoices")
    write("b/flow.py", "receipts")
    for number, name in enumerate(
        ("tokenize", "json", "typer", "flow.v2", "my flow é", "my-flow", "my.", "__main__", "1st")
    ):
        write(f"odd/{name}.py", f"odd_{number}")
    write("vendor/__init__.py")
    write("vendor/helpers.py", before="x = 1\n")
    write("vendor/rel.py", "rel", "from .helpers import x\nfrom vendor.helpers import x\n")
    write("platform/__init__.py")
    write("platform/helpers.py", before="x = 1\n")
    write("platform/flow.py", "shadowing", "from .helpers import x\n")
    write("plain/folder/flow.py", "namespaced")
    write("src/pkg/__init__.py")
    write("src/pkg/sub/__init__.py")
    write("src/pkg/sub/flow.py", "deep", "from .. import sub\n")
    (tmp_path / "link.py").symlink_to(write("target.py", "linked", "import beside\n"))
    write("beside.py")
    names = [
        "a/flow.py",
        "b/flow.py",
        *(f"odd/{one.name}" for one in sorted(Path("odd").iterdir())),
        "vendor/rel.py",
        "vendor.rel",
        "platform/flow.py",
        "plain.folder.flow",
        "./src/pkg/../pkg/sub/flow.py",
        str(tmp_path / "link.py"),
        "target.py",
        "target",
    ]
    found = load_pipelines(names)
    assert len(found) == 9 + 7  # two names of one file are one module
    assert sorted(in_a_worker(code_of(found))) == sorted(one.name for one in found)


def test_the_standard_library_stays_whole_beside_files_that_are_called_like_it(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write("enum.py", before="raise RuntimeError('not this one')\n")
    write("msgspec.py", before="raise RuntimeError('nor this one')\n")
    write("tokenize.py", "tok")
    write("flow.py", "invoices", "import enum, helpers\nassert enum.Enum and helpers.mine\n")
    write("helpers.py", before="import tokenize\nmine = tokenize.open\n")
    with caplog.at_level(logging.WARNING):
        found = load_pipelines(["flow.py", "tokenize.py"])
    assert "flow.py imports 'enum' and gets the standard library's, not" in caplog.text
    assert in_a_worker(code_of(found)) == ["invoices", "tok"]


def test_two_folders_cannot_both_mean_their_own_file_by_one_name(write: Write) -> None:
    write("a/flow.py", "invoices", "import helpers\n")
    write("a/helpers.py")
    write("b/flow.py", "receipts", after="def later():\n    from helpers import x\n")
    write("b/helpers.py")
    load_pipelines(["a/flow.py"])
    message = refusal(lambda: load_pipelines(["b/flow.py"]))
    assert "b/flow.py imports 'helpers' and means" in message
    assert "a/helpers.py has that name" in message
    assert "two runners" in message


IMPORTS = {
    "import pandas_of_nowhere": "flow.py needs 'pandas_of_nowhere', which is not installed (",
    "import flow_of_nowhere.sub": "needs 'flow_of_nowhere', which is not installed",
    "import json.nothing": "needs 'json.nothing', which 'json' does not have",
    "\n\nraise RuntimeError('DATABASE_URL is not set')": "RuntimeError: DATABASE_URL is not set (",
    "def (:": "SyntaxError: invalid syntax (",
    "import sys; sys.exit(3)": "ended the program with 3 while it was imported (",
    "raise BaseException('odd')": "BaseException: odd",
    (
        "class E(Exception):\n    def __str__(self): raise ValueError\nraise E"
    ): "cannot be imported: E (",
    "from .helpers import x": "add an __init__.py beside it",
    "from holdfast import App\nApp().run([])": "calls App.run while Holdfast imports it",
    "from holdfast import App\nApp().register([])": "calls App.submit",
    "import warnings; warnings.simplefilter('error'); warnings.warn('old')": "UserWarning: old (",
}


@pytest.mark.parametrize("text", IMPORTS)
def test_what_fails_at_import_is_one_line_that_names_the_cause(text: str, write: Write) -> None:
    write("flow.py", before=f"{text}\n")
    message = refusal(lambda: load_pipelines(["flow.py"]))
    assert IMPORTS[text] in message
    assert "\n" not in message
    if "(" in IMPORTS[text]:
        assert f"flow.py:{text.count(chr(10)) + 1})" in message
    assert "flow" not in sys.modules


def test_a_broken_helper_is_named_with_its_own_line(write: Write) -> None:
    write("flow.py", "invoices", "import helpers\n")
    write("helpers.py", before="\nhelpers_are_gone\n")
    assert refusal(lambda: load_module("flow.py")).endswith("helpers.py:2)")


def test_a_file_that_is_not_utf_8_says_so(write: Write) -> None:
    write("flow.py").write_bytes(b"x = 'caf\xe9'\n")
    assert refusal(lambda: load_module("flow.py")).endswith("save it as UTF-8")


def test_a_declaration_error_keeps_its_class_and_ctrl_c_goes_through(write: Write) -> None:
    write(
        "flow.py",
        before="from holdfast import pipeline\npipeline(version='', key=str)(lambda x: x)\n",
    )
    with pytest.raises(DefinitionError):
        load_module("flow.py")
    write("stopped.py", before="raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_module("stopped.py")


NAMES = {
    "nowhere.py": "there is no file nowhere.py",
    "no.where": "there is no module 'no.where': run from the directory",
    "folder": "folder is a folder: name a file in it, such as folder/flow.py",
    "folder/": "is a folder",
    "": "is a folder",
    "notebook.ipynb": "is a notebook, which workers cannot import",
    "run.sh": "is no Python file",
    "C:\\flows\\flow.py": "there is no file C:\\flows\\flow.py",
    "folder/flow.py:nothing": (
        "has no pipeline 'nothing': it has folder/flow.py:one, folder/flow.py:MORE.0"
    ),
    "folder/flow.py": (
        "name a pipeline of 'folder/flow.py': folder/flow.py:one, folder/flow.py:MORE.0"
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_cannot_be_loaded_says_what_there_is(name: str, write: Write) -> None:
    write(
        "folder/flow.py",
        "one",
        after="MORE = [pipeline(version='1', key=str, name='other')(one.fn)]\nagain = one\n",
    )
    write("notebook.ipynb")
    write("run.sh")
    assert NAMES[name] in refusal(lambda: load_pipeline(name))


def test_a_pipeline_is_named_by_variable_index_or_name_and_a_path_may_have_a_colon(
    write: Write,
) -> None:
    write(
        "a:b.py",
        "one",
        after="MORE = {'x': pipeline(version='1', key=str, name='the-other')(one.fn)}\n",
    )
    assert load_pipeline("a:b.py:one").name == "one"
    assert load_pipeline("a:b.py:MORE.x") is load_pipeline("a:b.py:the-other")
    assert read_target("a:b.py") == Target("a:b.py")
    assert read_target("claims.pipeline:claims") == Target("claims.pipeline", "claims")


def test_what_a_module_prints_at_import_does_not_spoil_the_answer(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("flow.py", "one", "print('loading')\n")
    load_module("flow.py")
    assert capsys.readouterr() == ("", "loading\n")


def test_pipelines_are_found_in_lists_and_under_other_names_in_other_modules(write: Write) -> None:
    write(
        "factory.py",
        "base",
        after="def make(name):\n    return pipeline(version='1', key=str, name=name)(base.fn)\n"
        "gone = make('gone')\n",
    )
    write(
        "uses.py",
        before="import factory\nALL = [factory.make(one) for one in 'ab']\nBY = {'c': "
        "factory.make('c')}\nkept = factory.gone\n",
    )
    uses: Any = load_module("uses.py")
    del uses.factory.gone
    found = [*uses.ALL, *uses.BY.values(), uses.kept]
    assert [source_of(one).at for one in found] == [("ALL", 0), ("ALL", 1), ("BY", "c"), ("kept",)]
    assert in_a_worker(code_of(found)) == ["a", "b", "c", "gone"]
    assert shown_module(uses.kept) == "uses"


@step()
def in_worker(x: str) -> str:
    """A plain def."""
    return x


@step()
async def in_loop(x: str) -> str:
    """An async def."""
    return x


def local(which: Any, name: str) -> Pipeline[Any, Any]:
    """A pipeline that no module holds."""
    from holdfast import pipeline

    @pipeline(version="1", key=str, name=name)
    def inner(x: str) -> str:
        return which(x)  # type: ignore[no-any-return]

    return inner


def test_a_def_step_of_a_pipeline_that_no_module_holds_is_refused_before_anything_is_accepted(
    app: App,
) -> None:
    one = local(in_worker, "unheld")
    message = refusal(lambda: app.run([one], [(one, "a")]))
    for part in (
        "step 'in_worker' of pipeline 'unheld'",
        "made inside a function",
        'runs="threads"',
        "async def",
        "module's level",
    ):
        assert part in message
    assert not app.settings.home.joinpath("ledger.db").exists()


def test_async_steps_need_no_module(app: App) -> None:
    one = local(in_loop, "unheld")
    assert app.run([one], [(one, "a")]).received == 1
    assert app.reads().status()[0]["completed"] == 1


def test_a_module_that_differs_from_process_to_process_is_refused_by_the_worker(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        "flow.py",
        "whole",
        after=(
            "import os\n"
            "if 'ONLY_HERE' in os.environ:\n"
            "    only = pipeline(version='1', key=str, name='only')(whole.fn)\n"
            "body = (lambda x: work(work(x))) if 'ONLY_HERE' in os.environ else work\n"
            "@pipeline(version='1', key=str)\ndef graph(x: str) -> str:\n    return body(x)\n"
        ),
    )
    monkeypatch.setenv("ONLY_HERE", "1")
    code = code_of(load_pipelines(["flow.py"]))
    monkeypatch.delenv("ONLY_HERE")
    whole, only, graph = in_a_worker(code)
    assert whole == "whole"
    assert "refused: flow has no pipeline 'only' version '1' when a worker imports it" in only
    assert "refused: pipeline 'graph' of flow has another graph in a worker" in graph


def test_a_module_without_a_file_has_nowhere_to_be_imported_from() -> None:
    assert "has no file" in refusal(lambda: module_of(ModuleType("made_up")))


def test_relative_entries_of_the_path_and_names_that_are_no_utf_8_reach_the_worker(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("lib\udcff/flow.py", "here")
    monkeypatch.syspath_prepend("lib\udcff")
    found = load_module("flow")
    code = code_of([one for _, one in held(found)])
    assert str(file.parent) in code.path
    assert json.loads(code.packed())["path"] == code.path
    assert in_a_worker(code) == ["here"]


def test_the_graph_of_ordinary_modules_is_found_by_their_names() -> None:
    source = source_of(average)
    assert (source.module.name, source.module.file, source.at, source.needed) == (
        "tests.samples",
        "",
        ("average",),
        True,
    )
    assert not source_of(retried).needed
    assert Order.__module__ == "tests.samples"


def test_a_worker_is_no_runner() -> None:
    assert "inside a worker process" in refusal(
        lambda: as_worker(lambda: refuse_in_worker("App.run"))
    )
    refuse_in_worker("App.run")


def test_what_a_worker_cannot_import_is_one_type_of_error(write: Write) -> None:
    (found,) = load_pipelines([str(write("flow.py", "one"))])
    source = source_of(found)
    for text in (
        "raise KeyboardInterrupt",
        "raise SystemExit",
        "from holdfast.errors import InputError as E; raise E('x')",
    ):
        write("flow.py", before=text)
        sys.modules.pop("flow", None)
        with pytest.raises(ModuleError):
            pipelines_module.load_pipeline(source)
    assert issubclass(ModuleError, HoldfastError)
