"""User code that must type-check, and what the checkers must see in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from typing_extensions import assert_type

from holdfast import Alerts, Context, Failed, Pipeline, RedriveRule, Retry, StepAlerts, Transaction, branch, case, child, each, emit, first_ok, gather, pipeline, refine, review, route, step, wait_for


@dataclass
class Document:
    claim_id: str
    kind: str


@dataclass
class Page:
    number: int


@dataclass
class Text:
    words: str


@dataclass
class Mood:
    good: bool


class OcrModel:
    def __call__(self, pages: list[Page]) -> list[Text | Failed]:
        return [Text("") for _ in pages]


class Single:
    def __call__(self, document: Document) -> Text:
        return Text("")


ocr = step.batched(OcrModel)
single = step.of(Single, pool="models")


@step()
def convert(ctx: Context, document: Document) -> list[Page]:
    return []


@step()
async def embedded(document: Document) -> Text:
    return Text("")


@step()
def joined(texts: list[Text]) -> Text:
    return Text("")


@step(optional=True, flag="no-mood")
async def mood(text: Text) -> Mood:
    return Mood(True)


def scanned(document: Document) -> Text:
    return joined(each(ocr, tolerate=0.05)(convert(document)))


@step()
def drafted(document: Document, feedback: Mood | None) -> Text:
    return Text("")


@step()
async def judged(text: Text) -> Mood:
    return Mood(True)


@pipeline(version="1", key=lambda document: document.claim_id)
def single_text(document: Document) -> Text:
    return single(document)


@pipeline(version="1", key=lambda document: document.claim_id, deadline="2h")
def claims(document: Document) -> Text:
    assert_type(each(ocr)(convert(document)), list[Text])
    text = route(case("digital", embedded), case("scanned", scanned))(document.kind, document)
    assert_type(text, Text)
    assert_type(mood(text), Mood | None)
    assert_type(first_ok(embedded, convert)(document), Text | list[Page])
    assert_type(first_ok(single, embedded, scanned)(document), Text)
    assert_type(gather(embedded, scanned)(document), tuple[Text, Text])
    assert_type(gather(embedded, scanned, convert, quorum=2, deadline="5s")(document), tuple[Text | None, Text | None, list[Page] | None])
    assert_type(gather(embedded, branch(scanned, missing="wait"))(document), tuple[Text, Text | None])
    assert_type(refine(drafted, judged, until=lambda mood: mood.good, max_iterations=3)(document), Text)
    assert_type(review(Mood, by="anna")(text), Mood)
    assert_type(wait_for("mood", Mood)(document.claim_id), Mood)
    assert_type(wait_for("mood", Mood, timeout="1h", flag="none")(document.claim_id), Mood | None)
    assert_type(child(single_text)(document), Text)
    emit("claim.recorded")(text, key=document.claim_id)
    return text


assert_type(claims, Pipeline[Document, Text])
assert_type(claims(Document("a", "b")), Text)
plain: Callable[[Document], Text] = embedded


@step
async def bare(document: Document) -> Text:
    return Text("")


@step
def bare_with_context(ctx: Context, document: Document) -> Text:
    return Text("")


@step(retry=3, timeout="30s", depends="ocr", gpus=1)
def short(document: Document) -> Text:
    return Text("")


@step(optional=True, flag="none", retry=Retry(never=ValueError), timeout=timedelta(seconds=3))
def maybe(document: Document) -> Text:
    return Text("")


@step.transactional
def written(tx: Transaction, document: Document) -> Text:
    return Text("")


few = step.batched(OcrModel, batch=8, retry=2)


@pipeline(
    version=1, key=lambda document: document.claim_id, keep="7d", search="kind", budget=5, alerts=10,
    redrive=RedriveRule(error="timeout"), deadline=30,
)
def shortly(document: Document) -> Text:
    return short(document)


Alerts(steps={"ocr": 10, "joined": StepAlerts(dead=3)})
assert_type(bare(Document("a", "b")), Text)
assert_type(bare_with_context(Document("a", "b")), Text)
assert_type(short(Document("a", "b")), Text)
assert_type(maybe(Document("a", "b")), Text | None)
assert_type(written(Document("a", "b")), Text)
assert_type(few(Page(1)), Text)
