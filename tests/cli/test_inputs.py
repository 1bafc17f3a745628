"""What the command line reads: arguments, documents, lines, folders; one that is bad stops no
other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import InputError, LedgerError, pipeline
from holdfast.cli.inputs import manifest_keys, one_payload, read_payloads
from holdfast.errors import LedgerUnavailableError
from holdfast.inputs import Found, Handed, Input, Refused, Skipped, files, walk
from holdfast.settings import Settings
from tests.intake_samples import Row, book, filed, numbered, rows, texts

SETTINGS = Settings(input_mb=1)
GOOD = b'{"id": "r-%d", "amount": %d}\n'


def handed(one: Any, *arguments: str) -> list[Handed]:
    return list(read_payloads(one, list(arguments), SETTINGS))


def amounts(found: list[Handed]) -> list[float]:
    return [one.payload.amount for one in found if isinstance(one, Input)]


def refused(found: list[Handed]) -> list[Refused]:
    return [one for one in found if isinstance(one, Refused)]


@pytest.mark.parametrize(
    ("bad", "kind", "says"),
    [
        (b'{"id": "r-9", "amount": "n/a"}', "type", "Expected `float`"),
        (b'{"id": "r-9", ', "format", "truncated"),
        (b'{"id": "r-\xff"}', "format", "not UTF-8"),
        (b"\x00\x00\x00", "format", "not a Row"),
        (b"null", "type", "not a Row"),
        (b'{"id": "r-9", "amount": 1} trailing', "format", "trailing"),
        (b'{"id": "r-9", "amount": 1e999}', "format", ""),
        (b'"' + b"x" * (1 << 21) + b'"', "too-large", "HOLDFAST_INPUT_MB"),
        (b"[" * 200_000, "format", ""),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_no_other_is_lost(
    tmp_path: Path, bad: bytes, kind: str, says: str
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(GOOD % (1, 1) + b"\r\n  \n" + bad + b"\n" + GOOD % (2, 2))
    found = handed(rows, str(file))
    assert amounts(found) == [1, 2]
    (one,) = refused(found)
    assert one.source == f"line 4 of {file}"
    assert says in one.reason
    assert one.kind in (kind, "type")


def test_the_last_line_may_lack_its_end_or_be_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "in.NDJSON"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD % (1, 1) + b'{"id": "r-2", "amount": 2}')
    assert amounts(handed(rows, str(file))) == [1, 2]
    file.write_bytes(GOOD % (1, 1) + b'{"id": "r-2", "amo')
    found = handed(rows, str(file))
    assert (amounts(found), refused(found)[0].source) == ([1], f"line 2 of {file}")
    file.write_bytes(b"\xef\xbb\xbf" + GOOD % (1, 1))
    assert amounts(handed(rows, str(file))) == [1]


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-32"])
def test_another_encoding_is_said_once_or_by_line(tmp_path: Path, coding: str) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes((GOOD % (1, 1)).decode().encode(coding))
    found = handed(rows, str(file))
    assert refused(found)
    assert not amounts(found)
    if coding != "utf-16-le":
        assert "iconv" in refused(found)[0].reason


def test_arguments_that_cannot_be_read_are_refused_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "broken.json").symlink_to("nowhere")
    (tmp_path / "there").touch()
    bad = [
        str(tmp_path / name)
        for name in (
            "folder.jsonl",
            "loop.jsonl",
            "broken.json",
            "there",
            "missing.jsonl",
            f"{'x' * 300}.jsonl",
        )
    ]
    found = handed(
        rows, *bad, "nonsense", '{"id": 7}', "a\x00b.jsonl", '{"id": "r-1", "amount": 5}'
    )
    assert (amounts(found), len(refused(found))) == ([5], 9)
    assert "takes none: it has no inputs= function" in refused(found)[3].reason
    assert "give JSON" in refused(found)[6].reason


def test_a_document_is_one_payload(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text('\ufeff{\n "id": "r-1",\n "amount": 3\n}\n')
    assert amounts(handed(rows, str(file))) == [3]
    assert one_payload(rows, str(file), SETTINGS).source == str(file)
    file.write_bytes(b"{" + b" " * (1 << 21) + b"}")
    assert "larger than allowed" in refused(handed(rows, str(file)))[0].reason
    with pytest.raises(InputError, match="larger than allowed"):
        one_payload(rows, str(file), SETTINGS)


def test_lines_are_texts_where_the_payload_is_one(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(b'plain text\r\n"in quotes"\n\xff\n{"not": "json text"}\n')
    found = handed(texts, str(file))
    assert [one.payload for one in found if isinstance(one, Input)] == [
        "plain text",
        "in quotes",
        '{"not": "json text"}',
    ]
    assert refused(found)[0].source == f"line 3 of {file}"


def test_an_inputs_function_that_raises_ends_its_argument_alone() -> None:
    found = handed(numbered, "2", "nonsense", "3!", "1", "0")
    assert amounts(found) == [0, 1, 0, 1, 2, 0]
    assert [one.source for one in refused(found)] == ["nonsense", "3!"]
    assert "RuntimeError: the source broke off (after 3 of its payloads" in refused(found)[1].reason
    assert [one for one in found if isinstance(one, Skipped)] == [
        Skipped("0", "argument without payloads")
    ]
    assert [one.source for one in found[:2] if isinstance(one, Input)] == [
        "payload 1 of 2",
        "payload 2 of 2",
    ]


def taking(inputs: Callable[[str], Any]) -> Any:
    def taken(row: Row) -> float:
        return book(row)

    return pipeline(version="1", key=lambda row: row.id, inputs=inputs)(taken)


def exits(argument: str) -> Iterator[Row]:
    raise SystemExit(3)


@pytest.mark.parametrize(
    "inputs",
    [exits, lambda argument: None, lambda argument: 7, lambda argument: dict[str, int]()[argument]],
)
def test_whatever_an_inputs_function_does_the_next_argument_is_read(
    inputs: Callable[[str], Any],
) -> None:
    found = handed(taking(inputs), "a", '{"id": "r-1", "amount": 4}')
    assert amounts(found) == [4]
    assert len(refused(found)) == 1


def test_a_full_disk_is_nobodys_bad_input() -> None:
    def full(argument: str) -> Iterator[Row]:
        raise LedgerUnavailableError("the disk is full")

    with pytest.raises(LedgerError, match="disk is full"):
        handed(taking(full), "a")
    with pytest.raises(LedgerError, match="disk is full"):
        list(files(__file__, lambda found: next(full(""))))


def test_a_key_is_the_path_below_the_folder_and_the_order_is_that_of_names(tmp_path: Path) -> None:
    for name in ("b/x.txt", "a/x.txt", "c.txt", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = handed(filed, str(tmp_path))
    assert [one.payload.name for one in found if isinstance(one, Input)] == [
        "a/x.txt",
        "a.txt",
        "b/x.txt",
        "c.txt",
    ]
    (alone,) = handed(filed, str(tmp_path / "a" / "x.txt"))
    assert isinstance(alone, Input)
    assert alone.payload.name == "x.txt"


def test_suffixes_choose_files_whatever_their_case_and_the_others_are_announced(
    tmp_path: Path,
) -> None:
    for name in ("a.pdf", "b.PDF", "c.txt", "pdf"):
        (tmp_path / name).touch()
    found = list(walk(str(tmp_path), (".pdf", ".png"), SETTINGS))
    assert [one.name for one in found if isinstance(one, Found)] == ["a.pdf", "b.PDF"]
    assert {one.reason for one in found if isinstance(one, Skipped)} == {
        "file that does not end in .pdf or .png"
    }


def test_what_happens_to_a_file_while_it_is_read_refuses_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "grown", "large", "pipe", "linked", "fine"):
        (tmp_path / name).write_text(name)

    def make(found: Found) -> str:
        path = Path(found.path)
        if found.name == "gone":
            path.unlink()
        elif found.name == "large":
            path.write_bytes(b"x" * ((1 << 20) + 1))
        elif found.name in ("pipe", "linked"):
            path.unlink()
            os.mkfifo(path) if found.name == "pipe" else path.symlink_to("fine")
        elif found.name == "grown":
            real = os.fstat
            sizes = iter([3])
            monkeypatch.setattr(os, "fstat", lambda handle: _sized(real(handle), next(sizes, 5)))
            try:
                return found.read().decode()
            finally:
                monkeypatch.undo()
        return found.read().decode()

    found = list(files(str(tmp_path), make, settings=SETTINGS))
    assert [one.payload for one in found if isinstance(one, Input)] == ["fine"]
    reasons = {one.key: one.reason for one in found if isinstance(one, Refused)}
    assert "was removed" in reasons["gone"]
    assert "changed while it was read" in reasons["grown"]
    assert "larger than allowed" in reasons["large"]
    assert "named pipe" in reasons["pipe"]
    assert "cannot be read" in reasons["linked"], "what became a link is not followed"


def _sized(found: os.stat_result, size: int) -> Any:
    class Sized:
        st_mode, st_size, st_mtime_ns = found.st_mode, size, found.st_mtime_ns

    return Sized


def test_a_folder_that_cannot_be_listed_is_refused_and_its_neighbours_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "z.txt").touch()
    real = os.scandir

    def scandir(path: str) -> Any:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refusal, file = walk(str(tmp_path), settings=SETTINGS)
    assert isinstance(refusal, Refused)
    assert "Permission denied" in refusal.reason
    assert isinstance(file, Found)


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (b"a\r\nb\n\n  \n", ["a", "b"]),
        (b'\xef\xbb\xbf["a", "b c"]', ["a", "b c"]),
        (b"a\nb\x00c\x00", ["a\nb", "c"]),
        (b" a \nb\xe2\x80\xa8c\n", [" a ", "b\u2028c"]),
        (b"bad\xff\n", ["bad\udcff"]),
    ],
)
def test_a_manifest_is_read_as_it_was_written(
    tmp_path: Path, content: bytes, keys: list[str]
) -> None:
    (tmp_path / "manifest").write_bytes(content)
    assert manifest_keys(tmp_path / "manifest") == keys
