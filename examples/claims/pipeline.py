"""The claims pipeline: ingestion, conversion, OCR, layout, entities, classification, structured
output.

``holdfast run examples.claims.pipeline:claims FOLDER`` runs it on any folder of PDFs and images.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast import Retry, Timeout, case, each, first_ok, pipeline, route, step
from holdfast.inputs import Handed, files

from .classify import Classifier, by_keywords
from .entities import Tagger
from .ingest import convert_pages, ingest_file
from .layout import LayoutModel
from .reading import Reader, join_pages, read_embedded
from .types import Classified, Document, Entities, Layout, Page, Record, Text, Upload

_BRIEF = Retry(attempts=2, base="500ms")


@step(timeout=Timeout("30s"))
def ingest(upload: Upload) -> Document:
    """Step 1: recognise the file and open it; what cannot be read is bad input."""
    return ingest_file(upload)


@step(timeout=Timeout("60s"))
def convert(document: Document) -> list[Page]:
    """Step 2: every page as an upright gray image."""
    return convert_pages(document)


ocr = step.of(Reader, name="ocr", timeout=Timeout("3m"), retry=_BRIEF)


@step(timeout=Timeout("30s"))
def embedded(document: Document) -> Text:
    """Step 3 for digital documents: their own text, no OCR."""
    return read_embedded(document)


@step()
def join(pages: list[Text]) -> Text:
    """The pages of a scanned document put together."""
    return join_pages(pages)


layout = step.of(
    LayoutModel,
    name="layout",
    optional=True,
    flag="no-layout",
    timeout=Timeout("60s"),
    retry=_BRIEF,
)
entities = step.of(Tagger, name="entities", timeout=Timeout("60s"))
by_model = step.of(Classifier, name="by_model", timeout=Timeout("60s"), retry=Retry(attempts=1))


@step()
def keywords(text: Text) -> Classified:
    """Step 6, the second way."""
    return by_keywords(text)


@step()
def structure(
    document: Document, text: Text, found: Entities, classified: Classified, regions: Layout | None
) -> Record:
    """Step 7: the validated record, with what lowers its quality as flags."""
    sure = sum(line.confidence for line in text.lines) / len(text.lines)
    flags = [
        name
        for name, holds in {
            "low-ocr-confidence": sure < 0.95,
            "low-kind-confidence": classified.confidence < 0.6,
            "low-entity-confidence": found.confidence < 0.5,
            "no-number": not found.number,
            "no-date": not found.date,
            "no-layout": regions is None,
        }.items()
        if holds
    ]
    counts = (
        None
        if regions is None
        else {
            one.label: sum(r.label == one.label for r in regions.regions) for one in regions.regions
        }
    )
    return Record(
        document=document.name,
        kind=classified.kind,
        kind_confidence=classified.confidence,
        classified_by=classified.by,
        number=found.number,
        date=found.date,
        amount=found.amount,
        person=found.person,
        organisation=found.organisation,
        text_confidence=round(sure, 4),
        source=document.source,
        pages=document.pages,
        regions=counts,
        flags=flags,
    )


def scanned(document: Document) -> Text:
    """One OCR task per page; they run beside each other."""
    return join(each(ocr)(convert(document)))


def uploads(argument: str) -> Iterator[Handed]:
    """The files of a folder (and below), or one file, as payloads; a file's path below the folder
    is its name, and so its key."""
    return files(argument, lambda found: Upload(found.name, found.read()))


@pipeline(version="1", key=lambda upload: upload.name, deadline="1h", inputs=uploads)
def claims(upload: Upload) -> Record:
    """A document in, a validated record out."""
    document = ingest(upload)
    text = route(case("digital", embedded), case("scanned", scanned))(document.source, document)
    regions = layout(document)
    found = entities(text)
    classified = first_ok(by_model, keywords)(text)
    return structure(document, text, found, classified, regions)
