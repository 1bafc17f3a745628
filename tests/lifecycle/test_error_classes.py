"""The table of docs/errors.md, row by row: each class of failure, on each executor, in each
pattern."""

from __future__ import annotations

import importlib
import re
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest

from holdfast import App, Failed, error_class
from holdfast.errors import DefinitionError, InputError, ResultError, TransientError
from holdfast.model.classes import ErrorClass, classify, retry_after
from tests.error_samples import PIPELINES, Case

pytestmark = pytest.mark.slow

ATTEMPTS = {
    "transient": 3,
    "model": 3,
    "bad-input": 1,
    "bug": 2,
    "memory": 3,
    "timeout": 3,
    "crash": 3,
}
"""Attempts that count of a step that is declared with three."""

ENDS: dict[str, tuple[str, list[str], bool]] = {
    "alone": ("dead", [], True),
    "optional": ("completed", ["skipped"], False),
    "reviewed": ("waiting", [], False),
    "fallback": ("completed", ["fallback-1"], False),
    "element": ("completed", ["elements-missing"], True),
    "joining": ("completed", ["missing-1"], True),
}
"""By pattern: the item's end, its flags, and whether a dead letter is open."""


@pytest.mark.parametrize("executor", ["loop", "process", "threads"])
@pytest.mark.parametrize("pattern", list(ENDS))
def test_every_class_ends_as_the_table_says(pattern: str, executor: str, tmp_path: Path) -> None:
    app = App(home=tmp_path / "home", ledger="", workers=2)
    one = PIPELINES[pattern, executor]
    kinds = [
        kind
        for kind in (*ATTEMPTS, "infrastructure", "none")
        if executor == "process" or kind != "crash"
    ]
    app.run([one], [(one, Case(kind, str(tmp_path))) for kind in kinds])
    with closing(app.reads()) as reads:
        assert reads.audit(0)["balanced"]
        items = {kind: reads.item(reads.item_by_key(kind) or 0) for kind in kinds}
    for kind in kinds:
        item = items[kind]
        tries = [entry for entry in item["timeline"] if entry["state"] == "failed"]
        if kind in ("infrastructure", "none"):
            assert item["state"] == "completed", (kind, tries)
            assert [entry for entry in tries if entry["charged"]] == [], (
                "the infrastructure's faults are charged to nobody"
            )
            assert item["dead_letters"] == []
            continue
        state, flags, dead_letter = ENDS[pattern]
        assert {entry["error_class"] for entry in tries} == {kind}
        assert len(tries) == ATTEMPTS[kind], (pattern, executor, kind, tries)
        assert item["state"] == state, (kind, item["state"])
        assert [
            re.sub(r"^(fallback|missing)-.*", r"\1-1", flag) for flag in item["flags"]
        ] == flags, kind
        assert [one["error_class"] for one in item["dead_letters"] if one["state"] == "open"] == (
            [kind] if dead_letter else []
        ), kind


def test_the_table_of_the_docs_is_this_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
    rows = {
        match[1]: match[0] for match in re.finditer(r"^\| `([\w-]+)` \|.*$", text, re.MULTILINE)
    }
    for kind, attempts in ATTEMPTS.items():
        said = rows[kind].split("|")[3].strip()
        wanted = {"crash": "three", "bug": "twice", "bad-input": "once"}.get(kind, "`attempts`")
        assert said.startswith(wanted), (kind, said)
        assert attempts == {"three": 3, "twice": 2, "once": 1, "`attempts`": 3}[wanted]
    assert set(get_args(ErrorClass)) <= set(rows), "every class has its row"
    assert rows["infrastructure"].split("|")[3].strip().startswith("until it is over")


def made(module: str, name: str, *bases: type, **attributes: Any) -> Exception:
    """An exception as a library that is not installed here would raise it."""
    kind = type(name, bases or (Exception,), {"__module__": module})
    error: Exception = kind("CUDA out of memory" if "torch" in module else "it failed")
    for key, value in attributes.items():
        setattr(error, key, value)
    return error


def test_exceptions_of_well_known_libraries() -> None:
    aiohttp, httpx, openai, requests = (
        importlib.import_module(name) for name in ("aiohttp", "httpx", "openai", "requests")
    )

    request = httpx.Request("POST", "http://service")

    def answered(status: int, **headers: str) -> Any:
        return httpx.Response(status, headers=headers, request=request)

    limited = openai.RateLimitError(
        "slow down", response=answered(429, **{"retry-after": "7"}), body=None
    )
    assert (classify(limited), retry_after(limited)) == ("transient", 7.0)
    dated = httpx.HTTPStatusError(
        "",
        request=request,
        response=answered(
            503,
            **{
                "retry-after": "Wed, 21 Oct 2026 07:28:10 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
        ),
    )
    assert retry_after(dated) == 10.0
    assert classify(openai.BadRequestError("no", response=answered(400), body=None)) == "bad-input"
    assert (
        classify(openai.AuthenticationError("key", response=answered(401), body=None))
        == "transient"
    ), "the key is at fault, not the item"
    assert (
        classify(openai.InternalServerError("oops", response=answered(500), body=None))
        == "transient"
    )
    assert classify(openai.APITimeoutError(request)) == "timeout"
    assert classify(openai.APIConnectionError(request=request)) == "transient"
    assert classify(httpx.ReadTimeout("")) == "timeout"
    assert classify(httpx.ConnectError("")) == "transient"
    assert classify(httpx.RemoteProtocolError("")) == "transient"
    gone = requests.HTTPError("gone", response=requests.Response())
    gone.response.status_code = 410
    assert classify(gone) == "bad-input"
    assert classify(requests.ConnectTimeout()) == "timeout"
    assert classify(requests.ConnectionError()) == "transient"
    assert classify(aiohttp.ServerDisconnectedError()) == "transient"
    assert classify(aiohttp.ClientResponseError(None, (), status=422)) == "bad-input"
    assert classify(made("torch", "OutOfMemoryError", RuntimeError)) == "memory"
    assert classify(RuntimeError("CUDA error: out of memory")) == "memory"
    assert classify(RuntimeError("something else")) == "transient"
    onnx = "onnxruntime.capi.onnxruntime_pybind11_state"
    assert classify(made(onnx, "InvalidArgument")) == "bad-input"
    assert classify(made(onnx, "Fail")) == "model"
    assert classify(OSError(28, "no space left")) == "infrastructure"
    assert classify(OSError(12, "cannot allocate")) == "memory"
    assert classify(ConnectionResetError()) == "transient"
    assert classify(TimeoutError()) == "timeout"
    assert classify(UnicodeDecodeError("utf-8", b"x", 0, 1, "no")) == "bad-input"
    assert retry_after(TransientError("later", retry_after=3.0)) == 3.0
    assert retry_after(made("a", "B", headers={"retry-after": "soon"})) is None
    assert retry_after(made("a", "B", headers={"retry-after": "1e99"})) == 86_400.0


def test_what_an_answer_does_not_fit_is_the_models_and_what_code_does_wrong_is_a_bug() -> None:
    import json
    import xml.etree.ElementTree

    import msgspec
    import pydantic

    class Score(pydantic.BaseModel):
        score: int

    def raised(call: Any) -> BaseException:
        try:
            call()
        except BaseException as error:
            return error
        raise AssertionError

    answers = [
        lambda: json.loads("not json"),
        lambda: Score.model_validate({"score": "high"}),
        lambda: msgspec.json.decode(b"{"),
        lambda: msgspec.convert({"score": "high"}, int),
        lambda: xml.etree.ElementTree.fromstring("<a>"),
        lambda: raised_by(made("jsonschema.exceptions", "ValidationError")),
        lambda: raised_by(
            made("yaml.scanner", "ScannerError", type("YAMLError", (Exception,), {}))
        ),
    ]
    assert {classify(raised(call)) for call in answers} == {"model"}

    httpx = importlib.import_module("httpx")
    assert classify(raised(lambda: httpx.Response(200, text="<html>").json())) == "transient", (
        "a proxy's page, no answer"
    )

    bugs: list[Any] = [
        lambda: None + 1,  # type: ignore[operator]
        lambda: None.field,  # type: ignore[attr-defined]
        lambda: eval("no_such_name"),  # noqa: S307
        lambda: dict[str, int]()["key"],
        lambda: [][0],
        lambda: 1 / 0,
        lambda: raised_by(AssertionError()),
        lambda: raised_by(NotImplementedError()),
        lambda: importlib.import_module("no_such_module"),
        lambda: compile("(", "f", "exec"),
        lambda: next(iter(())),
        lambda: raised_by(InputError("ctx.once in a transactional step")),
        lambda: raised_by(ResultError("step 'x' returned a set")),
        lambda: (lambda again: again(again))(lambda again: again(again)),
    ]
    assert [classify(raised(call)) for call in bugs] == ["bug"] * len(bugs)


def raised_by(error: BaseException) -> None:
    raise error


def test_a_user_adds_rules() -> None:
    class Busy(Exception): ...

    class Broken(Busy): ...

    assert classify(Busy()) == "transient"
    error_class(Busy, "model")
    error_class("Broken", lambda error: "bad-input" if "x" in str(error) else None)
    assert classify(Busy()) == "model"
    assert classify(Broken("x")) == "bad-input"
    assert classify(Broken("y")) == "model", "the rule did not say, so the ancestor's does"
    with pytest.raises(DefinitionError, match="rule='nonsense' is not allowed"):
        error_class(Busy, "nonsense")  # type: ignore[arg-type]
    assert classify(Failed("no", retry=False).error()) == "bad-input"
