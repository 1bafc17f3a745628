"""The live view of a run: a table per step on a terminal, a plain line now and then in a pipe."""

from __future__ import annotations

import time
from types import TracebackType

from rich.live import Live
from rich.table import Table

from holdfast.cli.output import console, safe, tell
from holdfast.engine.serving import counted
from holdfast.session import Session

PLAIN_S = 5.0


class Progress:
    """Shows a session's counts; ``each_tick`` of :meth:`holdfast.App.run`.

    Args:
        total: how many items are expected, if known.
        quiet: show nothing.
    """

    def __init__(self, total: int | None = None, quiet: bool = False) -> None:
        self._total, self._quiet = total, quiet
        self._console = console(stderr=True)
        shows = self._console.is_terminal and not self._console.is_dumb_terminal and not quiet
        self._live = (
            Live(console=self._console, refresh_per_second=5, transient=False) if shows else None
        )
        self._began = self._said = time.monotonic()
        self._line = ""

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def __call__(self, session: Session) -> None:
        """Show where the session is."""
        now = time.monotonic()
        if self._live is not None:
            if now - self._said > 0.2 or not session.runner.runs():
                self._said = now
                self._live.update(self._table(session))
        elif not self._quiet and (now - self._said > PLAIN_S):
            self._said = now
            counts = self._counts(session)
            # where nothing has changed, nothing is said, however long it takes
            if counts != self._line:
                tell(self._summary(counts), err=True)
                self._line = counts

    def _summary(self, counts: str) -> str:
        return f"{counts} · {time.monotonic() - self._began:.0f} s"

    def _counts(self, session: Session) -> str:
        ended = session.runner.tally.items
        done = sum(ended.values())
        of = f" of {self._total}" if self._total else ""
        trouble = f" · {safe(session.trouble)}" if session.trouble else ""
        return (
            f"{done}{of} items ended: {ended.get('completed', 0)} completed, "
            f"{ended.get('dead', 0)} dead · "
            f"{len(session.runner.runs())} in flight{trouble}"
        )

    def _table(self, session: Session) -> Table:
        table = Table(
            box=None,
            pad_edge=False,
            header_style="bold",
            caption=self._summary(self._counts(session)),
            caption_justify="left",
        )
        table.add_column("step", min_width=24)
        for column in ("running", "waiting", "done", "retried", "skipped", "dead"):
            table.add_column(column, justify="right")
        tally, live = session.runner.tally.tasks, counted(session.runner.runs())
        for loaded in session.loaded:
            for node in loaded.pipeline.graph.steps():
                counts = [
                    tally.get((loaded.pipeline.name, node.index, state), 0)
                    for state in ("succeeded", "retried", "skipped", "dead")
                ]
                running, waiting = live.get((loaded.pipeline.name, node.index), (0, 0))
                if any(counts) or running or waiting or len(session.loaded) == 1:
                    done, retried, skipped, dead = counts
                    style = "red" if dead else "yellow" if skipped or retried else None
                    table.add_row(
                        node.name,
                        *[
                            str(n) if n else "·"
                            for n in (running, waiting, done, retried, skipped, dead)
                        ],
                        style=style,
                    )
        return table
