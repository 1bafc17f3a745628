"""Pipelines behind a server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from holdfast import Alerts, Context, Retry, each, on, pipeline, review, step


@dataclass
class Claim:
    """Every fourth cannot be read, until somebody mends it."""

    id: str
    number: int


@dataclass
class Verdict:
    """What a person says."""

    approve: bool
    note: str


@step(retry=Retry(attempts=2, base="1ms", cap="2ms"))
async def read(ctx: Context, claim: Claim) -> list[int]:
    """Fails for every fourth claim while no file says that it is mended."""
    ctx.cost(0.002)
    if (
        claim.number % 4 == 3
        and not Path(os.environ.get("HOLDFAST_TEST_MENDED", "/nonexistent")).exists()
    ):
        raise ValueError(f"<script>alert('{claim.id}')</script> cannot be read")
    return list(range(claim.number % 3 + 1))


@step()
async def priced(line: int) -> int:
    """One element."""
    return line * 100


@step()
async def recorded(prices: list[int]) -> list[dict[str, int]]:
    """A table."""
    return [{"line": number, "price": price} for number, price in enumerate(prices)]


@pipeline(version="1", key=lambda claim: claim.id, search=("number",), alerts=Alerts(dead=2))
def claims(claim: Claim) -> list[dict[str, int]]:
    """Read, priced line by line, recorded."""
    return recorded(each(priced)(read(claim)))


@pipeline(version="1", key=lambda claim: claim.id)
def approvals(claim: Claim) -> Verdict:
    """A person decides."""
    return review(Verdict)(claim)


@step()
async def numbered(claim: Claim) -> int:
    """Its number."""
    return claim.number


@on("claim.received")
@pipeline(version="1", key=lambda claim: claim.id)
def received(claim: Claim) -> int:
    """What a webhook starts."""
    return numbered(claim)
