"""What it cost, per pipeline, step and day: compute, calls, storage, and refinement.

Compute is charged by time, calls by what steps said, storage by size.
"""

from __future__ import annotations

from typing import Any

from holdfast.errors import NotFoundError
from holdfast.ledgers.reads import LedgerReads
from holdfast.model.measures import Measure
from holdfast.model.prices import MICRO, Prices
from holdfast.telemetry.span import Span

DAY_MIN = 24 * 60


def cost_table(
    reads: LedgerReads,
    prices: Prices,
    span: Span,
    pipeline: str | None = None,
    by_day: bool = False,
) -> list[dict[str, Any]]:
    """Costs by pipeline and step (and day), the dearest first.

    Keys: ``pipeline``, ``step``, ``day`` (Unix seconds; with ``by_day``), ``compute_usd``,
    ``api_usd``, ``storage_usd``, ``total_usd``, ``items`` (that completed in the span),
    ``usd_per_item``, and for a step in a refine ``passes``: its cost as a multiple of one pass.
    """
    measured = reads.measured(span.since_ms, span.until_ms, pipeline, DAY_MIN if by_day else 0)
    refined = {
        (one["pipeline"], name) for one in reads.pipelines() for name in _in_refines(one["shape"])
    }
    rows: list[dict[str, Any]] = []
    for (of, step, slot), one in measured.items():
        if not step:
            continue
        items = measured.get((of, "", slot), Measure()).succeeded
        spent, first = priced(one, prices), one.passed + one.lost
        rows.append(
            {
                "pipeline": of,
                "step": step,
                **({"day": slot * 60} if by_day else {}),
                **spent,
                "items": items,
                "usd_per_item": spent["total_usd"] / items if items else None,
                "passes": round(one.ended / first, 3) if (of, step) in refined and first else None,
            }
        )
    return sorted(
        rows, key=lambda row: (row.get("day", 0), -row["total_usd"], row["pipeline"], row["step"])
    )


def costs_by_field(
    reads: LedgerReads, prices: Prices, pipeline: str, field: str, span: Span
) -> list[dict[str, Any]]:
    """Costs of the items admitted in a span, by the values of a searchable field of their payload.

    The dearest come first.

    Keys: ``value``, ``items``, ``compute_usd``, ``api_usd``, ``storage_usd``, ``total_usd``,
    ``usd_per_item``. An item with several values counts for each.

    Raises:
        NotFoundError: no item has the field.
    """
    rows = []
    for value, (number, used) in reads.used_by_field(pipeline, field, span.since_ms).items():
        spent = priced(used, prices)
        rows.append(
            {"value": value, "items": number, **spent, "usd_per_item": spent["total_usd"] / number}
        )
    if not rows:
        raise NotFoundError(
            f"no item of {pipeline} in this span has a searchable field {field!r}: "
            "@pipeline(search=…) declares them"
        )
    return sorted(rows, key=lambda row: (-row["total_usd"], row["value"]))


def priced(one: Measure, prices: Prices) -> dict[str, float]:
    """A measure in dollars."""
    compute, api, storage = (
        prices.compute(one.cpu_ms / 1000, one.gpu_ms / 1000),
        one.cost / MICRO,
        prices.storage(one.stored),
    )
    return {
        "compute_usd": compute,
        "api_usd": api,
        "storage_usd": storage,
        "total_usd": compute + api + storage,
    }


def item_cost(item: dict[str, Any], prices: Prices) -> dict[str, float]:
    """The cost of one item, from its timeline: every ended attempt, and its outputs for a month."""
    ended = [one for one in item["timeline"] if one["ended_at"] is not None]
    compute = prices.compute(
        sum(one["cpu_s"] or 0 for one in ended), sum(one["gpu_s"] for one in ended)
    )
    api = sum(one["cost_usd"] for one in ended)
    kept = [one.get("output") for one in ended] + [item["payload"]]
    storage = prices.storage(
        sum(
            len(value) if isinstance(value, bytes) else getattr(value, "size", 0)
            for value in kept
            if value is not None
        )
    )
    return {
        "compute_usd": compute,
        "api_usd": api,
        "storage_usd": storage,
        "total_usd": compute + api + storage,
    }


def _in_refines(shape: list[dict[str, Any]]) -> set[str]:
    """Names of the nodes inside a refine that is in no each.

    In an each, a first pass is not once an item.
    """
    owners = {region: node for node in shape for region in node.get("regions", ())}

    def kinds(node: dict[str, Any]) -> list[str]:
        owner = owners.get(node.get("region", 0))
        return [] if owner is None else [owner["kind"], *kinds(owner)]

    return {node["name"] for node in shape if "refine" in kinds(node) and "each" not in kinds(node)}
