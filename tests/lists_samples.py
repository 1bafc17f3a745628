"""Pipelines whose keys, steps and values are hard to name."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from holdfast import BadInputError, Retry, case, each, pipeline, route, step


@dataclass
class Paper:
    """A paper; with ``bad``, its step fails so."""

    id: str
    customer: str = "ACME"
    kind: str = "scan"
    bad: str = ""


@step(retry=Retry(attempts=1))
async def ocr(paper: Paper) -> str:
    """Read it."""
    if paper.bad == "value":
        raise ValueError(f"broken {paper.bad}")
    if paper.bad:
        raise BadInputError(paper.bad)
    return paper.id


@step(optional=True, flag="no-title", retry=Retry(attempts=1))
async def title(text: str) -> str | None:
    """Its title."""
    if text.startswith("untitled"):
        raise ValueError("no title")
    return text


@step()
async def filed(title: str | None) -> str:
    """File it."""
    return title or "untitled"


def scanned(paper: Paper) -> str:
    """One of two ways."""
    return ocr(paper)


def printed(paper: Paper) -> str:
    """The other."""
    return ocr(paper)


@pipeline(version="1", key=lambda paper: paper.id, search=("customer",))
def papers(paper: Paper) -> str:
    """Read, titled, filed."""
    return filed(title(route(case("scan", scanned), case("print", printed))(paper.kind, paper)))


@step(retry=Retry(attempts=1))
async def stamped(paper: Paper) -> list[Paper]:
    """Stamp it."""
    return [paper]


@pipeline(version="1", key=lambda paper: paper.id, search=("customer", "kind"))
def letters(paper: Paper) -> list[str]:
    """Stamped, and read one by one."""
    return each(ocr)(stamped(paper))


@step()
async def sleeps(paper: Paper) -> str:
    """Ends after a second."""
    await asyncio.sleep(1.0)
    return paper.id


@pipeline(version="1", key=lambda paper: paper.id)
def slow(paper: Paper) -> str:
    """Two steps of a second each."""
    return filed(sleeps(paper))
