"""What passes between the steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, Field

Kind = Literal["claim", "invoice", "letter"]


@dataclass
class Upload:
    """A file as the client sent it; its name is its key."""

    name: str
    content: bytes


@dataclass
class Document:
    """A file that can be read: what it is, and whether its text is embedded."""

    name: str
    media: Literal["application/pdf", "image/png", "image/jpeg"]
    source: Literal["digital", "scanned"]
    pages: int
    content: bytes


@dataclass
class Page:
    """A page as a gray JPEG, upright."""

    number: int
    jpeg: bytes


@dataclass
class Line:
    """A line of text with its box as shares of the page, and how sure its reader is (0 to 1)."""

    text: str
    page: int
    x0: float
    y0: float
    x1: float
    y1: float
    confidence: float = 1.0


@dataclass
class Text:
    """All lines of a document in reading order."""

    lines: list[Line]


@dataclass
class Region:
    """A region of the first page: title, text, table, figure, header, …"""

    label: str
    score: float
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass
class Layout:
    """The regions of the first page."""

    regions: list[Region]


@dataclass
class Entities:
    """What was found in the text; empty text where nothing was."""

    number: str = ""
    date: str = ""
    amount: str = ""
    person: str = ""
    organisation: str = ""
    confidence: float = 1.0


@dataclass
class Classified:
    """The kind of a document, and how sure the classifier is (0 to 1)."""

    kind: Kind
    confidence: float
    by: Literal["model", "keywords"]


class Record(BaseModel):
    """The output: one validated record a document."""

    document: str = Field(min_length=1)
    kind: Kind
    kind_confidence: float = Field(ge=0, le=1)
    classified_by: Literal["model", "keywords"]
    number: str
    date: str = Field(pattern=r"^(\d{4}-\d{2}-\d{2})?$")
    amount: str = Field(pattern=r"^(\d+\.\d{2})?$")
    person: str
    organisation: str
    text_confidence: float = Field(ge=0, le=1)
    source: Literal["digital", "scanned"]
    pages: int = Field(ge=1)
    regions: dict[str, int] | None
    flags: list[str]


@dataclass
class Truth:
    """What the generator knows of a document that it made."""

    name: str
    kind: str
    condition: Literal["clean", "degraded", "broken"]
    fields: dict[str, str] = field(default_factory=dict)
