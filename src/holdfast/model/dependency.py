"""What several steps, pipelines and runners depend on together: a service that may be away."""

from __future__ import annotations

import re

import msgspec

from holdfast.errors import DefinitionError
from holdfast.model.duration import Duration, seconds


class Dependency(msgspec.Struct, frozen=True):
    """A service that steps call: ``@step(depends=Dependency("ocr-api"))``, or ``depends="ocr-api"`` with these defaults.

    Its breaker is one for all steps, pipelines and runners of a ledger (M. Nygard, "Release It!", 2007): it opens when, of the last
    ``window`` calls, ``failures`` and at least half failed as transient or by timeout. While it is open no attempt starts and none is
    charged; items that wait for it are parked. One probe at a time goes out, after ``probe``, then twice as long after each that
    fails, up to ``probe_cap``; the first that succeeds closes it.

    Its retry budget (as in Finagle) keeps a blip from becoming a storm: each first attempt earns ``budget`` of a retry, and a retry
    that has not been earned waits, uncharged. The reserve comes back by itself over ten seconds.

    Args:
        name: which; steps that name the same share it.
        failures: failed calls that open the breaker.
        window: calls that are looked back on.
        probe: a duration, from opening to the first probe.
        probe_cap: a duration, the longest between two probes.
        budget: retries per first attempt, in the long run.
        reserve: retries that need not be earned, for small numbers.
    """

    name: str
    failures: int = 5
    window: int = 20
    probe: Duration = "5s"
    probe_cap: Duration = "30s"
    budget: float = 0.1
    reserve: int = 10

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z_][\w.-]{0,99}", self.name):
            raise DefinitionError(f"dependency name {self.name!r}: use letters, digits, '_', '-' and '.', at most 100, beginning with a letter")
        if self.failures < 1 or self.window < self.failures or self.budget <= 0 or self.reserve < 1:
            raise DefinitionError(f"Dependency({self.name!r}): 1 ≤ failures ≤ window, budget > 0, reserve ≥ 1")
        seconds(self.probe)
        seconds(self.probe_cap)

    def pause_s(self, failed_probes: int) -> float:
        """Seconds from the opening, or from a failed probe, to the next."""
        return min(seconds(self.probe) * 2.0 ** min(failed_probes, 30), seconds(self.probe_cap))
