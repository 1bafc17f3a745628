"""User code that must not type-check: every line marked ``rejected`` is an error in both checkers,
and no other line is."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast import Retry, case, each, first_ok, pipeline, route, step


@dataclass
class Document:
    kind: str


@step()
def pages(document: Document) -> list[int]:
    return []


@step()
async def read(page: int) -> str:
    return ""


@step(optional=True, flag="none")
def maybe(text: str) -> str:
    return text


step(optional=True)  # rejected
step(retry="often")  # rejected
Retry(attempts="3")  # rejected
step(runs="thread")  # rejected
step(retries=3)  # rejected


@pipeline(version="1", key=lambda document: document.kind)
def wrong(document: Document) -> str:
    read(document)  # rejected
    each(read)(document)  # rejected
    each(pages)(pages(document))  # rejected
    first_ok(pages, read)(document)  # rejected
    route(case("a", pages), case("b", read))(document.kind, document)  # rejected
    read(maybe("x"))  # rejected
    return pages(document)  # rejected
