"""``demo``: the claims pipeline on generated documents, judged against what is known of them."""

from __future__ import annotations

import importlib
import json as jsonlib
import shutil
import sys
import time
from contextlib import nullcontext
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli.demo_runners import drive, start_ledger
from holdfast.cli.exits import end
from holdfast.cli.export import export_outputs
from holdfast.cli.output import Json, print_json, safe, tell
from holdfast.cli.progress import Progress
from holdfast.cli.run import log_as_set, recycle, tune_garbage_collector
from holdfast.cli.serve import PORT, served
from holdfast.errors import InputError
from holdfast.release import install

SEED = 20261122


class Kind(str, Enum):
    """Which ledger the demo uses."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def examples() -> Path:
    """Where the examples are: in the wheel, or in the checkout.

    Raises:
        InputError: neither has them.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "examples", package.parent.parent / "examples"):
        if (folder / "claims" / "pipeline.py").is_file():
            return folder
    raise InputError(
        "the claims example is not installed: run from a checkout, or install the wheel"
    )


def load_example() -> tuple[Any, Any]:
    """The claims pipeline and its document generator.

    Raises:
        InputError: the extra that it needs is not installed.
    """
    sys.path.insert(0, str(examples()))
    try:
        return importlib.import_module("claims.pipeline"), importlib.import_module(
            "claims.generate"
        )
    except ModuleNotFoundError as error:
        raise InputError(f"the demo needs {error.name!r}: {install('documents')}") from None


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for documents, ledger and records.")
    ] = Path("demo-output"),
    digital: Annotated[
        int, typer.Option("--digital", min=0, help="How many digital documents.")
    ] = 42,
    scanned: Annotated[
        int,
        typer.Option(
            "--scanned", min=0, max=40, help="How many scanned documents; these go through OCR."
        ),
    ] = 15,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Begin anew. Without it, an interrupted demo goes on where it was."
        ),
    ] = False,
    ledger: Annotated[
        Kind,
        typer.Option(
            "--ledger", help="Where the ledger lies; postgresql starts a server of the demo's own."
        ),
    ] = Kind.SQLITE,
    runners: Annotated[
        int,
        typer.Option("--runners", min=1, max=8, help="Runner processes, with --ledger postgresql."),
    ] = 2,
    kill: Annotated[
        bool,
        typer.Option(
            "--kill", help="With --ledger postgresql: SIGKILL one of the runners on the way."
        ),
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="With its page; both go on until Ctrl-C.")
    ] = False,
    port: Annotated[
        int,
        typer.Option(
            "--port", min=0, max=65535, help="With --serve: the page's port; 0: any that is free."
        ),
    ] = PORT,
    json: Json = False,
) -> None:
    """Run the seven-step claims pipeline on generated insurance documents, and account for each.

    Some of the documents are broken.
    """
    log_as_set()
    tune_garbage_collector()
    began = time.monotonic()
    if fresh:
        for part in ("ledger", "records", "documents", "postgres"):
            shutil.rmtree(output / part, ignore_errors=True)
    pipeline, generate = load_example()
    _say(json, "making documents …")
    made = list(generate.documents(SEED, digital, scanned))
    _write(output, [upload for upload, _ in made])
    if ledger is Kind.POSTGRESQL:
        _say(json, "starting PostgreSQL …")
    server = start_ledger(output / "postgres") if ledger is Kind.POSTGRESQL else None
    app = App(
        home=(output / "ledger").absolute(), ledger="" if server is None else server.url("demo")
    )
    _say(
        json,
        f"{len(made)} documents, {app.settings.worker_count} worker processes; Ctrl-C drains, "
        "and the same command goes on from there",
    )
    by, served_until = 0, None
    with served(app, [pipeline.claims], port=port) if serve else nullcontext() as address:
        if address is not None:
            tell(f"page: {address}", err=True)
        if server is not None:
            list(app.submit_many(pipeline.claims, (upload for upload, _ in made), "demo"))
            stopped = drive(
                app,
                "claims.pipeline:claims",
                examples(),
                runners,
                kill,
                lambda line: _say(json, line),
            )
        else:
            with Progress(len(made), json) as progress:
                payloads = ((pipeline.claims, upload) for upload, _ in made)
                result = app.run(
                    [pipeline.claims], payloads, True, "demo", each_tick=progress, recycle=recycle
                )
                stopped, by = result.stopped, result.signal
        if stopped:
            _say(json, "stopped; the same command goes on from here")
            raise end(by)
        report = _report(app, [truth for _, truth in made], output, began, server is not None, json)
        if address is not None:
            tell(f"page: {address}   Ctrl-C ends", err=True)
            served_until = app.run([pipeline.claims], (), False, recycle=recycle)
    if server is not None:
        server.stop()
    if not report["balanced"]:
        raise typer.Exit(1)
    if served_until is not None and served_until.stopped:
        raise end(served_until.signal, served_until.drained, serves=True)


def _write(output: Path, made: list[Any]) -> None:
    """Write the documents and the list of them.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        (output / "documents").mkdir(parents=True, exist_ok=True)
        for upload in made:
            (output / "documents" / upload.name).write_bytes(upload.content)
        (output / "manifest.txt").write_text(
            "".join(f"{upload.name}\n" for upload in made), "utf-8"
        )
    except OSError as error:
        raise InputError(
            f"{output} cannot be written ({error.strerror}): "
            "name a folder with `holdfast demo --output FOLDER`"
        ) from None


def _report(
    app: App, truths: list[Any], output: Path, began: float, postgresql: bool, json: bool
) -> dict[str, Any]:
    records = export_outputs(app, "claims", output / "records")
    report = judge(app, truths, output / "records", began) | {
        "records": records,
        "folder": str(output / "records"),
    }
    print_json(report) if json else _print(report, output, postgresql)
    return report


def judge(app: App, truths: list[Any], records: Path, began: float) -> dict[str, Any]:
    """Compare the records with the truth, and audit the ledger."""
    found = {}
    for file in records.glob("*.json"):
        record = jsonlib.loads(file.read_bytes())
        found[record["document"]] = record
    reads = app.reads()
    status = next(row for row in reads.status() if row["pipeline"] == "claims")
    audit = reads.audit(app.clock.now_ms())
    flags: dict[str, int] = {}
    flagged = 0
    for row in reads.items("claims", "completed", 1_000_000):
        marks = {
            *row["flags"],
            *next((r["flags"] for r in found.values() if r["document"] == row["key"]), []),
        }
        flagged += bool(marks)
        for mark in marks:
            flags[mark] = flags.get(mark, 0) + 1
    there = set(reads.keys("claims", None))
    missing = [truth.name for truth in truths if truth.name not in there]
    accuracy = {
        "kind": _share(
            [
                (found.get(t.name, {}).get("kind") == t.kind)
                for t in truths
                if t.condition != "broken"
            ]
        )
    }
    for condition in ("clean", "degraded"):
        pairs = [
            (truth, name)
            for truth in truths
            if truth.condition == condition
            for name in truth.fields
        ]
        accuracy[f"fields_{condition}"] = _share(
            [_same(found.get(t.name, {}).get(name), t.fields[name]) for t, name in pairs]
        )
    return {
        "received": status["received"],
        "completed": status["completed"],
        "flagged": flagged,
        "flags": flags,
        "dead": status["dead"],
        "causes": reads.causes("claims"),
        "accuracy": accuracy,
        "seconds": round(time.monotonic() - began, 1),
        "missing": missing,
        "balanced": audit["balanced"] and not missing,
    }


def _same(found: object, true: str) -> bool:
    return "".join(str(found).split()).casefold() == "".join(true.split()).casefold()


def _share(right: list[bool]) -> float | None:
    return round(sum(right) / len(right), 4) if right else None


def _say(json: bool, message: str) -> None:
    if not json:
        tell(message, err=True)


def _print(report: dict[str, Any], output: Path, postgresql: bool) -> None:
    percent = {
        name: "–" if value is None else f"{100 * value:.1f} %"
        for name, value in report["accuracy"].items()
    }
    flags = (
        ", ".join(f"{number} {flag}" for flag, number in sorted(report["flags"].items())) or "none"
    )
    tell(f"received   {report['received']}")
    tell(f"completed  {report['completed']}, of which {report['flagged']} flagged ({flags})")
    tell(f"dead       {report['dead']}")
    for cause in report["causes"]:
        tell(
            f"           {cause['count']} at {cause['step']}: "
            f"{cause['error_class']} ({safe(cause['error']).rsplit('.', 1)[-1]})"
        )
    tell(
        f"accuracy   kind {percent['kind']}; fields {percent['fields_clean']} on clean, "
        f"{percent['fields_degraded']} on degraded documents"
    )
    tell(f"seconds    {report['seconds']}")
    tell(f"records    {report['records']} in {report['folder']}")
    tell(f"audit      {'balanced' if report['balanced'] else 'NOT balanced'}")
    if postgresql:
        tell(
            f"ledger     {output / 'postgres'}: PostgreSQL's data; "
            "the same command starts its server again"
        )
        return
    tell(f"\nlook further:  export HOLDFAST_HOME={output / 'ledger'}")
    tell(
        "               holdfast status claims; holdfast dead; holdfast dead show 1; "
        "holdfast items show claim-000.pdf"
    )
