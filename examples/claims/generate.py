"""Documents with exact ground truth: claims, invoices and letters; digital and scanned; clean,
degraded and broken.

Everything follows from a seed. People, organisations and wordings are drawn from lists; the demo
draws from the half of the names that training never saw.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pypdfium2 as pdfium
from PIL import Image
from pypdf import PdfReader, PdfWriter
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from .types import Truth, Upload

FIRST = (
    "Ada Bruno Clara David Elena Felix Grace Henry Irene Jonas Karin Louis Marta Nadia "
    "Oscar Petra Quentin Rosa Simon Tessa Ulrich Vera Walter Yusuf Zoe Amelia Boris Celia "
    "Dmitri Esther"
).split()
LAST = (
    "Abbott Becker Castell Durand Eriksen Fischer Garrido Holm Ibsen Jansen Keller Lindner "
    "Moreau Novak Olsen Pereira Quandt Rossi Steiner Thorne Urbano Vogel Winter Young "
    "Zimmer Ashford Brandt Corelli Dahl Engel"
).split()
PLACES = (
    "Northgate Riverside Highland Meridian Oakwood Silverline Westbrook Harbour Summit "
    "Lakeside Redfield Stonebridge Ironwood Brightwater Eastham Fairmont Goldcrest "
    "Hillcrest Kingsway Larchmont"
).split()
TRADES = (
    "Insurance,Mutual,Logistics,Motors,Builders,Plumbing,Glass,Engineering,Partners,Services".split(
        ","
    )
)
ENDINGS = "Ltd,Group,GmbH,Inc,AG".split(",")
DAMAGES = (
    "water damage in the kitchen",
    "a broken windscreen",
    "hail damage to the roof",
    "a fire in the garage",
    "theft of a bicycle",
    "a collision at low speed",
)
GOODS = (
    "Replacement glass",
    "Labour and travel",
    "Roof tiles",
    "Copper pipe",
    "Paint and sealing",
    "Transport of goods",
    "Inspection",
    "Spare parts",
)
EPOCH = time.gmtime(0)
"""The date in every PDF, so that the same seed gives the same bytes."""
MONTHS = (
    "January February March April May June July August September October November December".split()
)


@dataclass
class Draft:
    """A document before it is drawn: title, lines (label and value, or a sentence), table rows, and
    the truth."""

    kind: str
    title: str
    lines: list[str]
    rows: list[tuple[str, str]]
    fields: dict[str, str]


def names(unseen: bool) -> tuple[list[str], list[str], list[str]]:
    """First names, last names, places: the half for training, or the other."""
    start = 1 if unseen else 0
    return FIRST[start::2], LAST[start::2], PLACES[start::2]


def draft(kind: str, rng: random.Random, unseen: bool) -> Draft:
    """Draw a document of a kind."""
    first, last, places = names(unseen)
    person = f"{rng.choice(first)} {rng.choice(last)}"
    organisation = f"{rng.choice(places)} {rng.choice(TRADES)} {rng.choice(ENDINGS)}"
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(2024, 2026)
    iso = f"{year}-{month:02d}-{day:02d}"
    written = iso if rng.random() < 0.5 else f"{day} {MONTHS[month - 1]} {year}"
    cents = rng.randint(5_000, 900_000)
    money = f"EUR {cents // 100:,}.{cents % 100:02d}"
    prefix = {"claim": "CLM", "invoice": "INV", "letter": "REF"}[kind]
    reference = f"{prefix}-{year}-{rng.randint(10_000, 99_999)}"
    fields = {"number": reference, "date": iso, "person": person, "organisation": organisation}
    rows: list[tuple[str, str]] = []
    if kind == "claim":
        fields["amount"] = f"{cents // 100}.{cents % 100:02d}"
        lines = [
            f"{rng.choice(('Claim number', 'Claim no.', 'Our claim'))}: {reference}",
            f"{rng.choice(('Date of incident', 'Incident date', 'Date of loss'))}: {written}",
            f"{rng.choice(('Claimant', 'Insured person', 'Policy holder'))}: {person}",
            f"{rng.choice(('Insurer', 'Insured with', 'Insurance company'))}: {organisation}",
            f"Policy: POL {rng.randint(100_000, 999_999)}",
            f"The claimant reports {rng.choice(DAMAGES)}.",
            "Photographs and the report of an expert are enclosed with this claim.",
            f"{rng.choice(('Amount claimed', 'Total amount claimed'))}: {money}",
        ]
        title = rng.choice(("INSURANCE CLAIM", "NOTICE OF CLAIM", "CLAIM FORM"))
    elif kind == "invoice":
        fields["amount"] = f"{cents // 100}.{cents % 100:02d}"
        parts = rng.randint(2, 4)
        shares = sorted(rng.sample(range(1, cents), parts - 1))
        for low, high in zip([0, *shares], [*shares, cents], strict=True):
            part = high - low
            rows.append((rng.choice(GOODS), f"EUR {part // 100:,}.{part % 100:02d}"))
        lines = [
            f"{rng.choice(('Invoice number', 'Invoice no.', 'Invoice'))}: {reference}",
            f"{rng.choice(('Invoice date', 'Date of invoice', 'Issued on'))}: {written}",
            f"{rng.choice(('Seller', 'Issued by', 'Supplier'))}: {organisation}",
            f"{rng.choice(('Bill to', 'Customer', 'Invoice to'))}: {person}",
            "Payment is due within thirty days without deduction.",
        ]
        rows.append((rng.choice(("Total", "Total due", "Invoice total")), money))
        title = rng.choice(("INVOICE", "TAX INVOICE", "BILL"))
    else:
        lines = [
            organisation,
            f"{rng.choice(('Our reference', 'Reference', 'Your reference'))}: {reference}",
            rng.choice((f"Date: {written}", f"Written on {written}")),
            f"{rng.choice(('Dear Mr', 'Dear Ms', 'Dear'))} {person},",
            rng.choice(
                (
                    "Thank you for your letter, which we have read with care.",
                    "We write to you about your recent question.",
                )
            ),
            "We will look into the matter and let you know the result within two weeks.",
            "Please call us if there is anything else that we can do for you.",
            rng.choice(("Yours sincerely", "With kind regards")),
        ]
        title = rng.choice(("LETTER", "CORRESPONDENCE", "NOTE"))
    return Draft(kind, title, lines, rows, fields)


def pdf_of(one: Draft, pages: int = 1) -> bytes:
    """The draft as a digital PDF; further pages repeat general terms."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4, invariant=True)
    _, height = A4
    y = height - 80
    canvas.setFont("Helvetica-Bold", 20)
    canvas.drawString(60, y, one.title)
    y -= 46
    canvas.setFont("Helvetica", 13)
    for line in one.lines:
        canvas.drawString(60, y, line)
        y -= 27
    for name, money in one.rows:
        canvas.line(60, y + 19, 500, y + 19)
        canvas.drawString(66, y, name)
        canvas.drawRightString(494, y, money)
        y -= 27
    for number in range(2, pages + 1):
        canvas.showPage()
        canvas.setFont("Helvetica", 13)
        for index, words in enumerate(
            (
                "General terms",
                "These terms are part of the document above.",
                "They apply from the first day of the year.",
            )
        ):
            canvas.drawString(
                60, height - 80 - 27 * index, f"{words}" if index else f"{words}, page {number}"
            )
    canvas.save()
    return out.getvalue()


def scan(pdf: bytes, rng: random.Random, damage: str) -> list[np.ndarray]:
    """The pages of a PDF as if they had been printed and scanned: ``none``, ``skew``,
    ``upside-down``, ``lying``, ``blur`` or ``noise``."""
    pages = []
    document = pdfium.PdfDocument(pdf)
    for number in range(len(document)):
        pixels = document[number].render(scale=150 / 72, grayscale=True).to_numpy().copy()
        pixels = pixels if pixels.ndim == 2 else pixels[:, :, 0]
        noise = np.random.default_rng(rng.randrange(1 << 30))
        if damage == "skew":
            height, width = pixels.shape
            turn = cv2.getRotationMatrix2D(
                (width / 2, height / 2), rng.choice((-3.5, -2.0, 2.0, 3.5)), 1.0
            )
            pixels = cv2.warpAffine(pixels, turn, (width, height), borderValue=255)
        elif damage == "upside-down":
            pixels = cv2.rotate(pixels, cv2.ROTATE_180)
        elif damage == "lying":
            pixels = cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
        elif damage == "blur":
            pixels = cv2.GaussianBlur(pixels, (0, 0), 1.6)
        strength = 26 if damage == "noise" else 4
        pages.append(
            (pixels.astype(np.float32) * 0.94 + 10 + noise.normal(0, strength, pixels.shape))
            .clip(0, 255)
            .astype(np.uint8)
        )
    return pages


def image_pdf(pages: list[np.ndarray]) -> bytes:
    """Pages of pixels as an image-only PDF."""
    out = io.BytesIO()
    images = [Image.fromarray(page) for page in pages]
    images[0].save(
        out,
        "PDF",
        resolution=150,
        save_all=True,
        append_images=images[1:],
        quality=80,
        creationDate=EPOCH,
        modDate=EPOCH,
    )
    return out.getvalue()


def broken(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Files that no pipeline can read, by name: cut off, garbage, encrypted, empty, enormous,
    blank, and no document at all."""
    whole = pdf_of(draft("claim", rng, True))
    yield "broken-cut-off.pdf", whole[: len(whole) // 3]
    yield "broken-garbage.pdf", b"%PDF-1.7\n" + rng.randbytes(4_000)
    writer = PdfWriter()
    writer.append_pages_from_reader(PdfReader(io.BytesIO(whole)))
    writer.encrypt("secret", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    yield "broken-encrypted.pdf", out.getvalue()
    yield "broken-empty.pdf", b""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(14_000, 14_000), invariant=True)
    canvas.drawString(60, 60, "enormous")
    canvas.save()
    yield "broken-enormous.pdf", out.getvalue()
    yield "broken-notes.docx", b"PK\x03\x04" + rng.randbytes(2_000)
    yield "broken-image.png", b"\x89PNG\r\n\x1a\n" + rng.randbytes(3_000)
    yield "broken-script.jpg", b"#!/bin/sh\necho this is no picture\n"


def documents(seed: int, digital: int, scanned: int) -> Iterator[tuple[Upload, Truth]]:
    """The demo's documents: so many digital and scanned ones in turn of kinds and damages, then the
    broken ones."""
    rng = random.Random(seed)
    kinds = ("claim", "invoice", "letter")
    for index in range(digital):
        one = draft(kinds[index % 3], rng, True)
        name = f"{one.kind}-{index:03d}.pdf"
        yield (
            Upload(name, pdf_of(one, 3 if index % 8 == 7 else 1)),
            Truth(name, one.kind, "clean", one.fields),
        )
    damages = ("none", "skew", "blur", "noise", "none", "upside-down", "lying")
    for index in range(scanned):
        one = draft(kinds[index % 3], rng, True)
        damage = damages[index % len(damages)]
        pages = scan(pdf_of(one, 2 if index % 9 == 4 else 1), rng, damage)
        condition = "clean" if damage == "none" else "degraded"
        if len(pages) == 1 and index % 2:
            kind = ("png", ".png") if index % 4 == 1 else ("jpeg", ".jpg")
            out = io.BytesIO()
            Image.fromarray(pages[0]).save(out, kind[0], quality=80)
            name, content = f"scan-{one.kind}-{index:03d}{kind[1]}", out.getvalue()
        else:
            name, content = f"scan-{one.kind}-{index:03d}.pdf", image_pdf(pages)
        yield Upload(name, content), Truth(name, one.kind, condition, one.fields)
    for index in range(2):  # too short for the classifier: the second way decides
        one = draft("claim", rng, True)
        one = Draft(
            "claim",
            "CLAIM",
            [
                f"Claim: {one.fields['number']}",
                f"Date of loss: {one.fields['date']}",
                "Damage: minor",
            ],
            [],
            one.fields,
        )
        name = f"short-claim-{index}.pdf"
        yield (
            Upload(name, pdf_of(one)),
            Truth(name, "claim", "clean", {part: one.fields[part] for part in ("number", "date")}),
        )
    blank = image_pdf([np.full((1754, 1240), 250, np.uint8)])
    yield Upload("broken-blank.pdf", blank), Truth("broken-blank.pdf", "", "broken")
    for name, content in broken(rng):
        yield Upload(name, content), Truth(name, "", "broken")
