"""The simulator's operators: people who pause, resume, cancel and restart items, steps and
pipelines at any instant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.model.changes import Cancel, Operation, Pause, Restart, Resume

if TYPE_CHECKING:
    from holdfast.testing.simulator import World


def operate(world: World) -> None:
    """Now and then ask for something; while the world heals, let everything go on."""
    now = world.clock.now_ms()
    rows: Any = world.real.connection.execute(
        "select id, version, state, wish from items order by id"
    ).fetchall()
    number = world.real.lifecycle.begin_operation(Operation("simulate", "", "an operator"), now)
    if world.healing:
        paused = [item for item, _, state, wish in rows if state == "paused" or wish is not None]
        if paused:
            world.real.lifecycle.change(number, Resume(), paused, now)
        for one in world.real.lifecycle.paused():
            world.real.lifecycle.pause_pipeline(number, one.pipeline, one.step, False, now)
        return
    for item, version, _, _ in rows:
        if world.rng.random() < 0.04:
            loaded = next(one for one in world.loaded if one.version == version)
            steps = [node.index for node in loaded.pipeline.graph.steps()]
            some = Restart({version: (world.rng.choice(steps),)})
            change = world.rng.choice(
                (Pause(), Pause(), Resume(), Resume(), Cancel(), Restart(), some)
            )
            world.real.lifecycle.change(number, change, [item], now)
            if world.real.lifecycle.change(number, change, [item], now) and isinstance(
                change, Pause | Resume | Cancel
            ):
                world.broken(
                    "I17 idempotent", f"{type(change).__name__} of {item} changed it twice"
                )
    if world.rng.random() < 0.1:
        pipeline = world.rng.choice(world.loaded).pipeline
        step = world.rng.choice(["", *[node.name for node in pipeline.graph.steps()]])
        world.real.lifecycle.pause_pipeline(
            number, pipeline.name, step, world.rng.random() < 0.5, now
        )
