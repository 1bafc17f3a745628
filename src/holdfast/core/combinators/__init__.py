"""What each combinator makes of its regions' ends, a file each; all implement
:class:`holdfast.core.regions.Combinator`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from holdfast.core.combinators import each, first_ok, gather, refine, route
from holdfast.core.regions import Combinator

COMBINATORS: Mapping[str, Combinator] = MappingProxyType(
    {"each": each, "first_ok": first_ok, "gather": gather, "refine": refine, "route": route}
)
"""Every combinator by node kind."""
