"""Operators of a hostile world: they restart items at any instant, with another payload too,
cancel and restart, and clear values."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.errors import InputError
from holdfast.model.changes import Cancel, Operation, Restart
from holdfast.model.content import content_digest

if TYPE_CHECKING:
    from holdfast.testing.hostile.world import HostileWorld

DAY_MS = 86_400_000


def operate(world: HostileWorld) -> None:
    """Ask for something of some items that were handed in."""
    now = world.clock.now_ms()
    rows: Any = world.real.connection.execute(
        "select id, version from items where parent is null order by id"
    ).fetchall()
    number = world.real.lifecycle.begin_operation(Operation("simulate", "", "an operator"), now)
    for item, version in rows:
        if world.rng.random() >= 0.03:
            continue
        loaded = next(one for one in world.loaded if one.version == version)
        verb = world.rng.choice(("restart", "step", "again", "payload", "clear"))
        with suppress(InputError):  # what cannot be restarted is refused
            if verb == "clear":
                world.cleared.update(one for one, of in rows if of == version)
                world.real.purge(loaded.pipeline.name, now + DAY_MS, None, now, 1_000)
            elif verb == "step":
                node = world.rng.choice([node.index for node in loaded.pipeline.graph.steps()])
                world.real.lifecycle.change(number, Restart({version: (node,)}), [item], now)
            elif verb == "payload":
                revise(world, number, item)
            else:
                if verb == "again":
                    world.real.lifecycle.change(number, Cancel(), [item], now)
                world.real.lifecycle.change(number, Restart(), [item], now)


def revise(world: HostileWorld, operation: int, item: int) -> None:
    """Restart with another number: from then on, another end is the right one."""
    name, data = world.given[item]
    fields: dict[str, Any] = msgspec.json.decode(data)
    fields["number"] += 1
    changed = msgspec.json.encode(fields)
    if world.real.lifecycle.change(
        operation,
        Restart(payload=changed, digest=content_digest(changed)),
        [item],
        world.clock.now_ms(),
    ):
        world.given[item] = name, changed
