"""A pipeline that passes any value on: from the loop over a worker process to a thread."""

from __future__ import annotations

from typing import Any

from holdfast import Retry, pipeline, step

ONCE = Retry(attempts=1)


@step(retry=ONCE)
async def first(given: dict[str, Any]) -> Any:
    """On the loop."""
    return given["value"]


@step(retry=ONCE)
def second(value: object) -> list[Any]:
    """In a worker process."""
    return [value]


@step(retry=ONCE, runs="threads")
def third(values: list[Any]) -> list[Any]:
    """In a thread."""
    return values


@pipeline(version="1", key=lambda given: given["key"])
def passed_on(given: dict[str, Any]) -> list[Any]:
    """Three executors."""
    return third(second(first(given)))  # type: ignore[no-untyped-call]
