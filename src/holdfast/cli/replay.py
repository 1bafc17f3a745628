"""``replay``: one task again, here, with its exact stored input: for a debugger."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from holdfast.app import App
from holdfast.cli.loading import find_item, load_pipeline
from holdfast.cli.output import Json, complain, print_json, safe_lines, tell
from holdfast.engine.looking_back import given
from holdfast.executors.attempt import call_of, checked_output, read_arguments
from holdfast.ledgers.reads import LedgerReads
from holdfast.model import media
from holdfast.model.failure import failure_of
from holdfast.model.outcome import Invocation
from holdfast.model.plain import wait_for
from holdfast.model.search import Filter


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay)


def replay(
    item: Annotated[str, typer.Argument(metavar="ITEM", help="An item's id or key.")],
    step: Annotated[
        str,
        typer.Argument(metavar="STEP", help="The step's name, as `holdfast items show` prints it."),
    ],
    target: Annotated[
        str,
        typer.Option(
            "--module", "-m", metavar="MODULE:PIPELINE", help="Where the pipeline is declared."
        ),
    ],
    element_path: Annotated[
        str,
        typer.Option(
            "--element-path",
            help="The element, for a step inside an each; by default the one that died.",
        ),
    ] = "",
    debug: Annotated[
        bool, typer.Option("--debug", help="Stop in the debugger where it fails.")
    ] = False,
    json: Json = False,
) -> None:
    """Run one task again in this process with its exact stored input.

    Nothing is written to the ledger.
    """
    pipeline = load_pipeline(target)
    app = App()
    reads = app.reads()
    found = find_item(app, item, prefer=pipeline.name)
    claimed, element_path = (
        reads.claimed(found),
        element_path or _element_path_of(reads, found, step),
    )
    store = app.store()
    media.otherwise(store)
    node, arguments = given(claimed, pipeline, store, step, element_path)
    step = node.name
    invocation = Invocation(
        item=claimed.item,
        fence=claimed.fence,
        pipeline=pipeline.name,
        version=pipeline.version,
        node=node.index,
        element_path=element_path,
        attempt=1,
        generation=claimed.generation,
        key=claimed.key,
        arguments=arguments,
        timeout_s=0.0,
        deadline=None,
    )
    inputs, _ = read_arguments(pipeline.graph, node, invocation, store)
    try:
        if node.step.kind == "batched":
            value = node.step.instance()([inputs[0]])[0]
        else:
            value = call_of(pipeline.graph, node, invocation, store)()
            value = wait_for(value) if node.step.is_async else value
        output = checked_output(node, value)
    except Exception as error:
        if debug:
            import pdb

            pdb.post_mortem(sys.exc_info()[2])
        failure = failure_of(error, node.step.policy.retry.never)
        if json:
            print_json({"step": step, "element_path": element_path, "failed": failure})
        else:
            tell(safe_lines(failure.traceback), err=True)
            complain(f"{step} failed again: {failure.error_class}: {failure.message}")
        raise typer.Exit(1) from None
    if json:
        print_json({"step": step, "element_path": element_path, "output": output})
    else:
        tell(safe_lines(output.decode("utf-8", "replace")))


def _element_path_of(reads: LedgerReads, item: int, step: str) -> str:
    """The element at which a step of an item has died, where it is one; else none."""
    dead = [
        reads.dead_letter(dead_letter) for dead_letter in reads.open_dead_letters([item], Filter())
    ]
    places = {
        one["element_path"]
        for one in dead
        if one["step"] == step or one["step"].endswith((f"/{step}", f".{step}"))
    }
    return places.pop() if len(places) == 1 else ""
