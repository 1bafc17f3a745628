"""Process 1 of a container: reaps, passes signals on, and ends as its only child does."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)


def be_init() -> None:
    """Fork: the child returns and is the program; this process stays behind and reaps.

    An init that starts nothing else takes no exit code that anybody waits for.
    """
    waited = {*FORWARDED, signal.SIGCHLD}
    # none is lost between here and the wait
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        heard = signal.sigwaitinfo(waited)
        if heard.si_signo != signal.SIGCHLD:
            if heard.si_code <= 0:  # a terminal has sent it to the child as well
                with suppress(ProcessLookupError):
                    os.kill(child, heard.si_signo)
            continue
        code = _reap(child)
        if code is not None:
            os._exit(code)


def _reap(child: int) -> int | None:
    """Take the exit codes of all who have ended.

    Return that of the child as a shell would give it, or None while it runs.
    """
    found = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                found = code if code >= 0 else 128 - code
    return found
