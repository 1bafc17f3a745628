"""A sequence: call one step with what another gave. Step 2 of one item runs while step 1 of the
next does."""

from __future__ import annotations

from typing import Any

from examples.patterns.running import example
from holdfast import Context, Retry, TransientError, pipeline, step


@step(retry=Retry(attempts=3, base="10ms"))
async def fetch(ctx: Context, address: str) -> str:
    """Fails once, and is tried again."""
    if ctx.attempt == 1:
        raise TransientError("the line was busy")
    return f"<p>{address}</p>"


@step()
def strip(page: str) -> str:
    """A plain function runs in a worker process that can be killed."""
    return page.removeprefix("<p>").removesuffix("</p>")


@step(optional=True, flag="no-title")
async def title(text: str) -> str:
    """May fail: then the next step is given None, and the item carries the flag."""
    if not text.istitle():
        raise ValueError("no title")
    return text


@step()
async def record(text: str, heading: str | None) -> dict[str, str | None]:
    """The end."""
    return {"text": text, "title": heading}


@pipeline(version="1", key=str)
def pages(address: str) -> dict[str, str | None]:
    """Four steps."""
    text = strip(fetch(address))
    return record(text, title(text))


def main() -> dict[str, Any]:
    """Two items."""
    with example() as here:
        here.run(pages, "Home", "about us")
        return {key: (here.result(key), here.item(key)["flags"]) for key in ("Home", "about us")}


if __name__ == "__main__":
    print(main())
