"""Whatever surrounds a command, it ends with the code that says how it went and one line that says
what to do; no password is shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast import App
from holdfast.cli import app as commands
from holdfast.cli.exits import carried_out
from holdfast.model.hiding import hidden, scrubbed
from holdfast.model.visible import visible
from tests.lists_samples import Paper, papers

pytestmark = pytest.mark.slow

SAMPLES = "tests.lists_samples"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with one item whose key is hostile."""
    folder = tmp_path_factory.mktemp("home")
    App(home=folder).run(
        [papers],
        [(papers, Paper("evil\u202etxt.exe\x1b[31m ü")), (papers, Paper("dies", bad="x" * 9))],
    )
    return folder


def shell(line: str, home: Path | str, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a line for the shell, in which ``holdfast`` is this one."""
    line = line.replace("holdfast", f"{sys.executable} -m holdfast")
    given = {**os.environ, "HOLDFAST_HOME": str(home), "HOLDFAST_WORKERS": "1", **environment}
    done = subprocess.run(
        ["bash", "-c", line], env=given, capture_output=True, check=False, timeout=60
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("holdfast status >&-", 0, ""),
        ("holdfast status 2>&-", 0, ""),
        ("holdfast status <&- >&- 2>&-", 0, ""),
        ("holdfast items show nobody 2>&-", 2, ""),
        ("holdfast items > /dev/full", 2, "No space left on device"),
        ("holdfast items show nobody 2> /dev/full", 2, ""),
        ("set -o pipefail; holdfast items --json | head -c 1 > /dev/null", 0, ""),
        ("PYTHONIOENCODING=ascii LC_ALL=C holdfast items", 0, ""),
        ("TERM=dumb NO_COLOR=1 COLUMNS=0 holdfast items", 0, ""),
        ("COLUMNS=20 holdfast items", 0, ""),
        ("TZ=No/Where holdfast status", 0, ""),
        ("env -u HOME -u USER -u LOGNAME holdfast status", 0, ""),
        ("holdfast nonsense", 2, "No such command"),
        ("holdfast items --limt 3", 2, "a key that begins with a dash is written key:-KEY"),
        ("HOLDFAST_LOG_LEVEL=loud holdfast status", 2, "HOLDFAST_LOG_LEVEL"),
        ("holdfast --log-level loud status", 2, "loud"),
    ],
)
def test_streams_and_terminals_of_every_kind(home: Path, line: str, code: int, says: str) -> None:
    found, _, err = shell(line, home)
    assert found == code, err
    assert says in err
    assert "Traceback" not in err
    assert "Exception ignored" not in err


def test_a_descriptor_that_was_closed_is_never_the_ledgers(home: Path) -> None:
    before = (home / "ledger.db").read_bytes()[:100]
    assert shell(f'holdfast submit {SAMPLES}:papers \'{{"id": "late"}}\' >&- 2>&-', home)[0] == 0
    assert (home / "ledger.db").read_bytes()[:16] == before[:16] == b"SQLite format 3\x00"
    assert shell("holdfast items show late", home)[0] == 0


@pytest.mark.parametrize(
    ("element_path", "says"),
    [
        ("/proc/none", "HOLDFAST_HOME"),
        ("{tmp}/file", "HOLDFAST_HOME"),
        ("{tmp}/file/deeper", "HOLDFAST_HOME"),
    ],
)
def test_a_home_that_cannot_be_written_is_one_line(
    tmp_path: Path, element_path: str, says: str
) -> None:
    (tmp_path / "file").touch()
    for command in ("run", "submit"):
        code, _, err = shell(
            f'holdfast {command} {SAMPLES}:papers \'{{"id": "a"}}\'',
            element_path.format(tmp=tmp_path),
        )
        assert (code, len(err.splitlines())) == (3, 1), err
        assert says in err
    assert shell("holdfast status", element_path.format(tmp=tmp_path))[0] == 3


def test_a_working_directory_that_is_gone(tmp_path: Path, home: Path) -> None:
    (tmp_path / "gone").mkdir()
    line = (
        f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && PYTHONPATH={Path.cwd()}/src "
        "holdfast status"
    )
    code, _, err = shell(line, ".holdfast")
    assert code == 2
    assert "set HOLDFAST_HOME to an absolute path" in err
    (tmp_path / "gone").mkdir()
    assert shell(line, home)[0] == 0


def test_an_empty_setting_is_one_that_is_not_given(tmp_path: Path) -> None:
    line = f"cd {tmp_path} && PYTHONPATH={Path.cwd()}/src holdfast status"
    code, _, err = shell(line, "")
    assert (code, f"{tmp_path}/.holdfast/ledger.db" in err) == (3, True), err


def test_who_has_no_name_is_called_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    from holdfast.settings import current_user

    def nobody(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert current_user() == f"uid {os.getuid()}"


def test_hostile_text_is_shown_and_not_obeyed(home: Path) -> None:
    code, out, _ = shell("holdfast items", home)
    assert code == 0
    assert r"evil\u202etxt.exe\x1b[31m ü" in out
    assert "\u202e" not in out
    assert (
        visible("a\u2028b\u2066c\u200bd\x85e\ufefff\ud800")
        == r"a\u2028b\u2066c\u200bd\x85e\ufefff\ud800"
    )
    assert visible("tab\tline\nürö שלום 👍 \u00a0") == "tab\tline\nürö שלום 👍 \u00a0"
    code, out, _ = shell("PYTHONIOENCODING=ascii LC_ALL=C holdfast items --json", home)
    assert "evil\u202etxt.exe\x1b[31m ü" in [row["key"] for row in json.loads(out)]


SECRETS = [
    "postgresql://u:SECRET@h/db",
    "postgresql://u:SEC@RET:SECRET/SECRET@h:5432/db?x=1",
    "postgresql://u:SECRET%40@h/db",
    "postgresql://u:SECRET SECRET@h/db",
    "postgresql://:SECRET@h/db",
    "postgresql://u:SECRET@h1:1,h2:2/db",
    "POSTGRESQL://u:SECRET@h/db",
    "postgresql://h/db?user=u&password=SECRET&sslpassword=SECRET",
    "postgresql://h/db?PASSWORD=SECRET",
    "host=h password=SECRET dbname=x",
    r"host=h password='SECRET \' SECRET' dbname=x",
    "host=h password = 'SECRET",
    "user:SECRET@host/db",
    "nats://u:SECRET@h:4222",
    "nats://SECRET@h:4222",
    "nats://a:SECRET@h1,nats://b:SECRET@h2",
    "s3://bucket/x?access_key_id=SECRET&secret_access_key=SECRET",
]


@pytest.mark.parametrize("address", SECRETS)
def test_a_password_is_hidden_in_every_form(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for text in (address, f"cannot reach {address}: it is away", f"'{address}'"):
        assert "SECRET" not in hidden(text), hidden(text)
        assert hidden(hidden(text)) == hidden(text)
    assert "SECRET" not in scrubbed(
        f'could not translate host name "SECRET@h" of {address}', address
    )
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path))
    local = (
        address.replace("@h", "@127.0.0.1:1", 1)
        if address.startswith("postgresql://u:SECRET@h/")
        else address
    )
    for variable in ("HOLDFAST_LEDGER", "HOLDFAST_BUS", "HOLDFAST_ARTIFACTS"):
        if (address.startswith("nats://") and variable == "HOLDFAST_BUS") or (
            address.startswith("postgresql://") and local == address
        ):
            continue  # a name that is looked for takes seconds
        monkeypatch.setenv(variable, local)
        code = carried_out(lambda: commands(["status"], standalone_mode=False))
        out, err = capsys.readouterr()
        assert code in (2, 3), err
        assert "SECRET" not in out + err, err
        monkeypatch.delenv(variable)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u@h/db",
        "postgresql://h:5432/db",
        "nats://h:4222",
        "s3://bucket/pre@fix",
        "see http://h:80/x, ask a@b.c",
    ],
)
def test_what_is_no_password_is_shown(text: str) -> None:
    assert hidden(text) == text


def test_a_bug_of_ours_is_one_line_and_its_traceback_is_kept(home: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import holdfast.cli.look as look\n\ndef broken():\n    raise "
        "RuntimeError('postgresql://u:SECRET@h')\n\nlook.App = broken\n"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}/src", "TMPDIR": str(tmp_path)}
    code, _, err = shell("holdfast status", home, **environment)
    assert (code, len(err.splitlines())) == (70, 1), err
    (kept,) = tmp_path.glob("holdfast-error-*.txt")
    assert str(kept) in err
    assert "RuntimeError" in kept.read_text()
    assert "SECRET" not in err + kept.read_text()
    code, _, err = shell("holdfast --log-level debug status", home, **environment)
    assert code == 70
    assert "Traceback" in err


def test_versions_are_printed() -> None:
    code, out, _ = shell("holdfast --version", "/proc/none")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()][:3] == ["holdfast", "Python", "SQLite"]


def test_each_death_is_a_line_and_a_bad_minute_is_summed_up(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(
        "".join(f'{{"id": "b{n}", "bad": "gone\\u202e"}}\n' for n in range(25))
    )
    code, _, err = shell(f"holdfast run {SAMPLES}:papers {tmp_path}/in.jsonl", tmp_path / "home")
    lines = [line for line in err.splitlines() if line.startswith("WARNING")]
    assert (code, len(lines)) == (0, 21), err
    assert "pipeline papers, key b" in lines[0]
    assert (
        r"step route/ocr: bad-input: holdfast.errors.BadInputError: gone\u202e; `holdfast "
        r"items show "
    ) in lines[0]
    assert "5 more items died in this minute" in lines[20]
    code, _, err = shell(
        f'holdfast --log-level error run {SAMPLES}:papers \'{{"id": "c", "bad": "x"}}\'',
        tmp_path / "home",
    )
    assert (code, err) == (0, "")
    line = f'HOLDFAST_LOG=json holdfast run {SAMPLES}:papers \'{{"id": "d", "bad": "x"}}\''
    assert json.loads(shell(line, tmp_path / "home")[2])["level"] == "warning"


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        ("run", signal.SIGTERM, 143),
        ("run", signal.SIGINT, 130),
        ("runner", signal.SIGTERM, 0),
        ("runner", signal.SIGINT, 130),
    ],
)
def test_a_signal_decides_the_exit_code(
    tmp_path: Path, command: str, number: int, code: int
) -> None:
    environment = {
        **os.environ,
        "HOLDFAST_HOME": str(tmp_path),
        "HOLDFAST_WORKERS": "1",
        "SLOW": "1",
    }
    words = [f"{SAMPLES}:slow", '{"id": "a"}'] if command == "run" else [f"{SAMPLES}:slow"]
    going = subprocess.Popen(
        [sys.executable, "-m", "holdfast", command, *words],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 30
    while not (tmp_path / "ledger.db.sock").exists():
        assert time.monotonic() < until, "it did not begin"
        time.sleep(0.05)
    time.sleep(0.3)
    going.send_signal(number)
    _, err = going.communicate(timeout=30)
    assert going.returncode == code, err


def test_a_server_that_only_looks_ends_cleanly(home: Path) -> None:
    environment = {**os.environ, "HOLDFAST_HOME": str(home)}
    going = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "serve", "--port", "0"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert going.stderr is not None
    while "Ctrl-C ends" not in (line := going.stderr.readline()):
        assert line, "it did not begin"
    time.sleep(0.2)
    going.send_signal(signal.SIGTERM)
    assert going.wait(30) == 0
    going.stderr.close()


def test_every_kind_of_error_has_its_exit_code() -> None:
    from holdfast import errors
    from holdfast.cli.exits import exit_code_of

    for error, code in (
        (errors.InputError("x"), 2),
        (errors.NotFoundError("x"), 2),
        (errors.DefinitionError("x"), 2),
        (errors.StoreError("x"), 2),
        (errors.LedgerLockedError("x"), 3),
        (errors.BacklogFullError(1, 1.0), 3),
        (errors.WorkersError("x"), 5),
        (OSError(28, "full"), 2),
        (BrokenPipeError(), 0),
        (KeyboardInterrupt(), 130),
        (KeyError("x"), 70),
        (RecursionError(), 70),
    ):
        assert exit_code_of(error) == code, error


def test_no_text_of_an_item_looks_like_a_line_of_ours(tmp_path: Path) -> None:
    forged = "x\nbalanced\nWARNING item 0 died\r\u2028\x9b31m"
    home = tmp_path / "home"
    App(home=home, workers=1).run([papers], [(papers, Paper(forged, customer=forged))])
    (tmp_path / "in.jsonl").write_text(json.dumps({"id": forged + "!", "bad": forged}) + "\n")
    (tmp_path / "keys.json").write_text(json.dumps(["missing\nbalanced", forged, forged + "!"]))
    for line in (
        f"holdfast run {SAMPLES}:papers {tmp_path}/in.jsonl",
        (
            f'HOLDFAST_LOG=json holdfast run {SAMPLES}:papers \'{{"id": "b", "bad": '
            f'"\\u009b\\u202e"}}\''
        ),
        f"holdfast submit {SAMPLES}:papers {tmp_path}/in.jsonl",
        f"holdfast audit --manifest {tmp_path}/keys.json",
        "holdfast items",
        "holdfast dead",
        "holdfast dead show 1",
        "holdfast items show letter:1",
        "holdfast dead groups",
        "holdfast items show nobody$'\\n'balanced",
    ):
        code, out, err = shell(line, home)
        assert code in (0, 1, 2), err
        lines = (out + err).split("\n")
        assert all(one.replace("\t", "").isprintable() for one in lines), (line, out, err)
        assert not [one for one in lines if one in ("balanced", "WARNING item 0 died")], (
            line,
            out,
            err,
        )


def test_a_home_whose_name_is_no_text_and_a_directory_that_is_gone_are_refused_in_one_line(
    tmp_path: Path,
) -> None:
    line = (
        f"HOLDFAST_HOME=$(printf '{tmp_path}/bad\\xff') holdfast submit {SAMPLES}:papers "
        f'\'{{"id": "a"}}\''
    )
    code, _, err = shell(line, tmp_path)
    assert (code, "not UTF-8" in err, len(err.splitlines())) == (2, True, 1), err
    (tmp_path / "gone").mkdir()
    line = (
        f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && PYTHONPATH={Path.cwd()}/src "
        f"holdfast run {Path.cwd()}/tests/lists_samples.py:papers '{{}}'"
    )
    code, _, err = shell(line, tmp_path / "home")
    assert "holdfast: No such file or directory" not in err, err
