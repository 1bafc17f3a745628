"""``runbook`` and ``dashboards``: what to do, and what to look at, written for a pipeline."""

from __future__ import annotations

import json as jsonlib
import shlex
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.loading import load_pipelines
from holdfast.cli.output import Json, print_json, tell
from holdfast.modules.targets import read_target
from holdfast.telemetry.grafana import dashboard, rules
from holdfast.telemetry.runbooks import index, markdown, runbooks, subject_of


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("runbook")(runbook)
    app.command("dashboards")(dashboards)


def runbook(
    modules: Annotated[
        list[str],
        typer.Argument(
            metavar="MODULE...", help="Modules whose pipelines to write for, or MODULE:PIPELINE."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder to write Markdown files to; without it they are printed."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write runbooks for these very pipelines.

    They say how to restart failed items, clear stuck ones, scale capacity, add a step and read an
    alert.
    """
    written = []
    for one, module in zip(load_pipelines(modules), _modules(modules)):
        of = subject_of(one.name, one.version, one.graph.shape(), module, one.deadline)
        books = runbooks(of)
        if output is None:
            if not json:
                tell("\n\n".join([index(of, books), *[markdown(of, book) for book in books]]))
            written += [
                {"pipeline": one.name, "runbook": book.slug, "text": markdown(of, book)}
                for book in books
            ]
            continue
        folder = output / one.name
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in [
            ("README", index(of, books)),
            *[(book.slug, markdown(of, book)) for book in books],
        ]:
            (folder / f"{name}.md").write_text(text, "utf-8")
            written.append(
                {"pipeline": one.name, "runbook": name, "file": str(folder / f"{name}.md")}
            )
    if json:
        print_json(written)
    elif output is not None:
        tell(f"wrote {len(written)} files to {output}")


def dashboards(
    modules: Annotated[
        list[str],
        typer.Argument(
            metavar="MODULE...", help="Modules whose pipelines to write for, or MODULE:PIPELINE."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")],
    json: Json = False,
) -> None:
    """Write a Grafana dashboard (NAME.json) and Prometheus alert rules (NAME.rules.yml).

    Each pipeline has its own.
    """
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for one in load_pipelines(modules):
        for name, text in (
            (f"{one.name}.json", jsonlib.dumps(dashboard(one), indent=2) + "\n"),
            (f"{one.name}.rules.yml", rules(one)),
        ):
            (output / name).write_text(text, "utf-8")
            written.append({"pipeline": one.name, "file": str(output / name)})
    print_json(written) if json else tell(f"wrote {len(written)} files to {output}")


def _modules(modules: list[str]) -> list[str]:
    """For each pipeline of these modules, the module as it was named."""
    return [
        shlex.quote(read_target(target).module)
        for target in modules
        for _ in load_pipelines([target])
    ]
