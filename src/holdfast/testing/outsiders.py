"""The simulator's world outside: people who decide reviews, and a service that answers with
events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.errors import InputError
from holdfast.model.events import Event

if TYPE_CHECKING:
    from holdfast.testing.simulator import World


def people_and_events(world: World) -> None:
    """Decide some of the open reviews, and send some of the events that are waited for, or will
    be."""
    now = world.clock.now_ms()
    rows: Any = world.real.connection.execute(
        "select id, name, digest, item from waits where kind = 'review' and state = 'open'"
    ).fetchall()
    for review, title, digest, item in rows:
        if world.rng.random() < (1.0 if world.healing else 0.4):
            answer = {"number": item % 5} if title == "Ruling" else uncertain(world)
            world.real.mail.decide(review, answer, digest, "boss", (), now)
            try:
                world.real.mail.decide(review, answer, digest, "boss", (), now)
            except InputError:
                continue
            world.broken("I16 review", f"review {review} was decided twice")
    for name, payload in world.payloads:
        if name == "people" and world.rng.random() < (1.0 if world.healing else 0.2):
            data = msgspec.json.encode({"number": 2 * payload})
            world.real.mail.publish(
                [Event(f"doubled {payload}", "doubled", "simulated", str(payload), now, data)]
                * world.rng.choice((1, 2))
            )


def uncertain(world: World) -> dict[str, object]:
    """What a person says of a step of which nobody knows whether it took effect."""
    verdict = world.rng.choice(("retry", "done", "bury"))
    return {"verdict": verdict, "value": 1 if verdict == "done" else None}
