"""The seven trivial steps that the throughput benchmarks run: a payload of about 200 bytes, one
field changed a step."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import Pipeline, pipeline, step


class Payload(msgspec.Struct):
    """About 200 bytes as JSON."""

    id: int
    text: str
    number: int = 0


def payload(number: int) -> Payload:
    """The payload with a number."""
    return Payload(number, "x" * 160)


def _async_step(name: str) -> Any:
    async def body(given: Payload) -> Payload:
        given.number += 1
        return given

    body.__name__ = name
    return step()(body)


def _process_step(name: str) -> Any:
    def body(given: Payload) -> Payload:
        given.number += 1
        return given

    body.__name__ = name
    return step()(body)


_loop = [_async_step(f"async_{n}") for n in range(7)]
_workers = [_process_step(f"process_{n}") for n in range(7)]


@pipeline(version="1", key=lambda given: str(given.id))
def seven_async(given: Payload) -> Payload:
    """Seven ``async def`` steps."""
    return _loop[6](_loop[5](_loop[4](_loop[3](_loop[2](_loop[1](_loop[0](given)))))))  # type: ignore[no-any-return]


@pipeline(version="1", key=lambda given: str(given.id))
def seven_process(given: Payload) -> Payload:
    """Seven ``def`` steps in worker processes."""
    return _workers[6](  # type: ignore[no-any-return]
        _workers[5](_workers[4](_workers[3](_workers[2](_workers[1](_workers[0](given))))))
    )


BY_STEPS: dict[str, Pipeline[Any, Any]] = {"async": seven_async, "process": seven_process}
