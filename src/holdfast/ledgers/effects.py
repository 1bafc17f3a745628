"""Which effects outside have been had for an item's payload: what a revision would repeat."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from holdfast.ledgers.beyond import Run
from holdfast.model.ids import show
from holdfast.model.visible import one_line

NAMED = 20
"""Effects that a refusal names."""

_effects = msgspec.json.Decoder(dict[int, str])


def effects_had(run: Run, item: int) -> list[str]:
    """What steps of an item, and of all items that descend from it, have done outside for the
    payload of now: sub-effects recorded by ``ctx.once``, transactional steps that succeeded, and
    steps with ``effects="unsafe"`` that began. Each as text, the first ones."""
    found: list[str] = []
    for of, key, version, node, element_path, label, at in run("family_effects", item, NAMED + 1):
        found.append(
            f"step {_step(run, version, node, element_path)}: ctx.once({label!r}) at "
            f"{_moment(at)}{_whose(item, of, key)}"
        )
    for version, effects in run("family_versions", item):
        for node, kind in sorted(_effects.decode(effects).items()):
            seen: set[tuple[int, str]] = set()
            for of, key, element_path, at, how in run(
                "family_tasks", item, node, version, NAMED + 1
            ):
                if (of, element_path) in seen or (kind == "transaction" and how != "succeeded"):
                    continue
                seen.add((of, element_path))
                what = f"{kind} step {_step(run, version, node, element_path)}"
                did = (
                    "succeeded"
                    if how == "succeeded"
                    else "runs now"
                    if how == "running"
                    else f"began ({how}) and may have taken effect"
                )
                found.append(f"{what}: {did}, {_moment(at)}{_whose(item, of, key)}")
    return found


def told(effects: list[str]) -> str:
    """Effects as one line: the first of them, and how many more there are."""
    more = len(effects) - NAMED
    return "; ".join(effects[:NAMED]) + (f"; and {more} more" if more > 0 else "")


def _step(run: Run, version: int, node: int, element_path: str) -> str:
    ((shape,),) = run("shape_of", version)
    name = msgspec.json.decode(shape)[node]["name"]
    return f"{name!r} [{element_path}]" if element_path else repr(name)


def _whose(item: int, of: int, key: str) -> str:
    return "" if of == item else f" (child {show(of)}, key {one_line(key)[:80]})"


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
