"""``run``, ``runner``, ``submit``: handing items in and driving them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from holdfast.app import App, RunResult
from holdfast.cli.accepting import Accepting, receipt_json, skipped_json
from holdfast.cli.exits import end
from holdfast.cli.inputs import read_payloads
from holdfast.cli.loading import load_pipeline, load_pipelines
from holdfast.cli.output import Json, complain, print_json, safe, tell
from holdfast.cli.progress import Progress
from holdfast.cli.traces import tracing
from holdfast.errors import HoldfastError
from holdfast.executors.logs import log_to_stderr
from holdfast.model.ids import show
from holdfast.model.item import OnConflict, Receipt
from holdfast.session import Session
from holdfast.settings import read_settings

Priority = Annotated[
    int,
    typer.Option(
        "--priority", min=-1000, max=1000, help="Items of a higher one are claimed first."
    ),
]
Manifest = Annotated[
    str,
    typer.Option(
        "--manifest",
        help="Your name for the list of these items; `holdfast audit` reconciles by it.",
    ),
]


Conflict = Annotated[
    OnConflict,
    typer.Option(
        "--on-conflict",
        help="Of an input whose key is known with other content: fail leaves its item as it "
        "is and exits with 4; revise stops that item's "
        "attempts and begins it anew with this input.",
    ),
]
RepeatEffects = Annotated[
    bool,
    typer.Option(
        "--repeat-effects",
        help="With --on-conflict revise: also where effects of the old input have happened; "
        "they may happen again.",
    ),
]
Why = Annotated[str, typer.Option("--reason", help="With --on-conflict revise: why; it is kept.")]
Who = Annotated[
    str,
    typer.Option(
        "--as", help="With --on-conflict revise: who asks; by default the user who is logged in."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("run")(run)
    app.command("runner")(runner)
    app.command("submit")(submit)


def recycle(intake_open: bool) -> None:
    """Replace this process by a fresh start of the same command.

    The new process claims the items that are under way.

    Args:
        intake_open: payloads are still being read. From stdin they cannot be read again, so then
            the process ends and says so.
    """
    if intake_open and "-" in sys.argv:
        complain(
            "stopped before all of stdin was accepted: run the same command with the same "
            "input again; what is known is not taken twice"
        )
        os._exit(130)
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "holdfast", *sys.argv[1:]])


def tune_garbage_collector() -> None:
    """Raise the thresholds: they scan thousands of live objects per item in flight for nothing."""
    import gc

    gc.set_threshold(50_000, 20, 50)


def run(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:PIPELINE",
            help="The pipeline, such as claims.pipeline:claims or my_file.py:mine.",
        ),
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS...",
            help="Payloads: files or folders if the pipeline takes them, JSON, a .jsonl file, "
            "or - for lines on stdin.",
        ),
    ],
    manifest: Manifest = "",
    priority: Priority = 0,
    on_conflict: Conflict = "fail",
    repeat_effects: RepeatEffects = False,
    reason: Why = "",
    who: Who = "",
    json: Json = False,
) -> None:
    """Accept the inputs, drive them to the end, and say what became of them.

    Other items of this pipeline that have not ended are processed, too.
    """
    log_as_set()
    tune_garbage_collector()
    pipeline = load_pipeline(target)
    holdfast = App()
    accepting = Accepting(target, inputs, keep=json)
    with accepting.broken_off(), tracing(holdfast) as traced, Progress(quiet=json) as progress:
        payloads = (
            (pipeline, one)
            for one in accepting.reading(read_payloads(pipeline, inputs, holdfast.settings))
        )
        result = holdfast.run(
            [pipeline],
            payloads,
            until_idle=True,
            manifest=manifest,
            priority=priority,
            each_tick=both(progress, traced),
            recycle=recycle,
            receipt=accepting.receipt,
            refused="keep",
            on_conflict=on_conflict,
            repeat_effects=repeat_effects,
            reason=reason,
            who=who,
        )
    _report(holdfast, [pipeline.name], result, json, accepting)


def runner(
    modules: Annotated[
        list[str],
        typer.Argument(
            metavar="MODULE...", help="Modules whose pipelines to serve, or MODULE:PIPELINE."
        ),
    ],
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when nothing is left to do.")
    ] = False,
    json: Json = False,
) -> None:
    """Drive the items of these pipelines; others hand items in with `holdfast submit`.

    Ctrl-C drains, a second one stops at once.
    """
    log_as_set()
    tune_garbage_collector()
    pipelines = load_pipelines(modules)
    holdfast = App()
    if not json:
        served = ", ".join(f"{one.name} (version {one.version})" for one in pipelines)
        tell(f"serving {served} on {holdfast.settings.ledger_name}", err=True)
    with tracing(holdfast) as traced, Progress(quiet=json) as progress:
        result = holdfast.run(
            pipelines, (), until_idle, each_tick=both(progress, traced), recycle=recycle, wait=True
        )
    _report(holdfast, [one.name for one in pipelines], result, json, serves=True)


def submit(
    target: Annotated[str, typer.Argument(metavar="MODULE:PIPELINE", help="The pipeline.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUTS...", help="As for `holdfast run`.")
    ],
    manifest: Manifest = "",
    priority: Priority = 0,
    on_conflict: Conflict = "fail",
    repeat_effects: RepeatEffects = False,
    reason: Why = "",
    who: Who = "",
    json: Json = False,
) -> None:
    """Accept the inputs durably and return; a runner drives them.

    Each line of the answer is a receipt.
    """
    pipeline = load_pipeline(target)
    holdfast = App()
    accepting = Accepting(target, inputs, keep=json)
    answers: list[dict[str, Any]] = []
    handed = accepting.reading(read_payloads(pipeline, inputs, holdfast.settings))
    try:
        with accepting.broken_off():
            for receipt in holdfast.submit_many(
                pipeline,
                handed,
                manifest=manifest,
                priority=priority,
                refused="keep",
                on_conflict=on_conflict,
                repeat_effects=repeat_effects,
                reason=reason,
                who=who,
            ):
                accepting.receipt(receipt)
                if json:
                    answers.append(receipt_json(receipt))
                else:
                    item = show(receipt.item) if receipt.item else "-"
                    tell(f"{item}\t{safe(receipt.key) or '-'}\t{_answer(receipt)}")
    except (HoldfastError, KeyboardInterrupt):
        if answers:  # they are receipts, although the rest could not be accepted
            print_json(answers)
        raise
    accepting.sum_up()
    if json:
        print_json(
            answers + [{"status": "skipped", **skipped_json(one)} for one in accepting.skipped]
        )
    accepting.end()


def _report(
    holdfast: App,
    names: list[str],
    result: RunResult,
    json: bool,
    accepting: Accepting | None = None,
    serves: bool = False,
) -> None:
    reads = holdfast.reads()
    rows = [row for row in reads.status() if row["pipeline"] in names]
    causes: list[dict[str, Any]] = reads.causes(names[0] if len(names) == 1 else None)
    asked = reads.reviews(names[0] if len(names) == 1 else None, "open", 1_000)
    reads.close()
    taken = "0 new, 0 known" if accepting is None else accepting.told()
    if json:
        named = {} if accepting is None else accepting.as_json()
        said = {
            "received": result.received,
            "known": result.known,
            "revised": result.revised,
            "stopped": result.stopped,
        }
        print_json({**said, **named, "status": rows, "dead": causes})
    else:
        for row in rows:
            counts = ", ".join(
                f"{row[state]} {state}"
                for state in row
                if state not in ("pipeline", "received") and row[state]
            )
            tell(
                f"{row['pipeline']}: "
                f"{row['received']} received: {counts or 'nothing yet'} ({taken})"
            )
        for cause in causes[:10]:
            tell(
                f"  dead: {cause['count']} at {cause['step']}: "
                f"{cause['error_class']}: {safe(cause['error'])}"
            )
        if len(causes) > 10:
            tell(f"  and {len(causes) - 10} more causes: `holdfast dead groups`")
        if causes:
            tell("  `holdfast dead` lists them, `holdfast dead redrive --all` sends them back")
        if asked:
            number = f"more than {len(asked):,}" if asked.more else len(asked)
            tell(f"  {number} wait for a person: `holdfast reviews` lists them")
    if accepting is not None:
        accepting.sum_up()
    if result.stopped:
        complain(
            f"stopped{'' if serves and result.drained else ' before everything had ended'}; "
            "the same command goes on from here"
        )
        raise end(result.signal, result.drained, serves)
    if accepting is not None:
        accepting.end()


def both(
    one: Callable[[Session], None], other: Callable[[Session], None]
) -> Callable[[Session], None]:
    """Call both at each tick."""

    def tick(session: Session) -> None:
        one(session)
        other(session)

    return tick


def log_as_set() -> None:
    """Warnings to stderr, as ``HOLDFAST_LOG`` says."""
    settings = read_settings()
    log_to_stderr(settings.log, settings.log_level)


def _answer(receipt: Receipt) -> str:
    """What became of a payload that was handed in.

    A dead item's key is answered with where its dead letter is shown.
    """
    if receipt.status == "new":
        return "accepted"
    if receipt.status == "revised":
        return f"revised, {receipt.state}"
    if receipt.status == "same":
        return (
            "known, dead: `holdfast items show` says why"
            if receipt.state == "dead"
            else f"known, {receipt.state}"
        )
    return f"{receipt.status}: {safe(receipt.reason)}"
