"""What several steps, pipelines and runners depend on together: a service that may be away."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from holdfast.model.arguments import Declared, refuse
from holdfast.model.duration import Span, seconds
from holdfast.model.kinds import number, text, whole

WhenOpen = Literal["auto", "wait", "fail"]
"""What becomes of a task while the breaker of its dependency is open."""


class Dependency(Declared, frozen=True):
    """A service that steps call: ``@step(depends=Dependency("ocr-api"))``, or ``depends="ocr-api"``
    with these defaults.

    Its breaker is one for all steps, pipelines and runners of a ledger (M. Nygard, "Release It!",
    2007): it opens when, of the last ``window`` calls, ``failures`` and at least half failed as
    transient or by timeout. While it is open no attempt starts and none is counted; items that wait
    for it are parked. One probe at a time goes out, after ``probe``, then twice as long after each
    that fails, up to ``probe_cap``; the first that succeeds closes it.

    Its retry budget (as in Finagle) keeps a blip from becoming a storm: each first attempt earns
    ``budget`` of a retry, and a retry that has not been earned waits. The reserve comes back by
    itself over ten seconds.

    Args:
        name: which; steps that name the same share it.
        failures: failed calls that open the breaker.
        window: calls that are looked back on.
        probe: a duration, from opening to the first probe.
        probe_cap: a duration, the longest between two probes.
        budget: retries per first attempt, in the long run.
        reserve: retries that need not be earned, for small numbers.
        when_open: what a task does while the breaker is open. ``"wait"``: it waits. ``"fail"``: it
            fails at once, without a retry, as if its attempts were exhausted. ``"auto"``: it fails
            at once in a branch of a ``first_ok`` that has another one after it, and waits
            everywhere else.

    In a step, ``depends="ocr-api"`` means ``Dependency("ocr-api")``.
    """

    name: Annotated[
        str,
        text(
            re.compile(r"[A-Za-z_][\w.-]{0,99}").fullmatch,
            "a name of letters, digits, '_', '-' and '.', at most 100, beginning with a letter",
        ),
    ]
    failures: Annotated[int, whole(1, 10_000)] = 5
    window: Annotated[int, whole(1, 10_000)] = 20
    probe: Span = "5s"
    probe_cap: Span = "30s"
    budget: Annotated[
        float, number(0, 100, "a share of a retry above 0, such as 0.1", above=True)
    ] = 0.1
    reserve: Annotated[int, whole()] = 10
    when_open: WhenOpen = "auto"

    def __post_init__(self) -> None:
        if self.window < self.failures:
            refuse(
                f"Dependency {self.name!r}",
                f"window={self.window} is less than failures={self.failures}: the breaker "
                "would never open; raise window",
            )

    def pause_s(self, failed_probes: int) -> float:
        """Seconds from the opening, or from a failed probe, to the next."""
        return min(seconds(self.probe) * 2.0 ** min(failed_probes, 30), seconds(self.probe_cap))
