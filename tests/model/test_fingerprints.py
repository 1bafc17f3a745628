"""One cause is one group, whatever the item is called and holds."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from holdfast import App, BadInputError, pipeline, step
from holdfast.model.failure import Failure
from holdfast.model.fingerprint import fingerprint, normalised, texts_of
from tests.samples import Order

NAMES = [
    "ACME GmbH",
    "O'Neil & Söhne",
    "(Klammern) [und] *Sterne*",
    "Müller",
    "invoice-17",
    "DE",
    "x",
    "42",
    "12-34-56",
]


@pytest.mark.parametrize(
    "form",
    ["customer {} not found", "customer {!r} not found", "{}: no such customer", "unknown ({})"],
)
def test_keys_and_payload_values_are_left_out(form: str) -> None:
    named = {
        normalised(form.format(name), [name])
        for name in NAMES
        if any(dead_letter.isalpha() for dead_letter in name)
    }
    assert len(named) == 1
    found = {
        fingerprint("s", Failure("bad-input", "E", form.format(name)), [name]) for name in NAMES[:7]
    }
    assert len(found) == 1
    assert fingerprint("s", Failure("bad-input", "E", "something else"), []) not in found


def test_only_whole_words_are_left_out_and_numbers_stay_numbers() -> None:
    assert normalised("the file is not a file", ["il"]) == "the file is not a file"
    assert (
        normalised("attempt 1 of 3 failed", ["1"])
        == normalised("attempt 2 of 3 failed", ["2"])
        == "attempt <n> of <n> failed"
    )
    assert normalised("de facto: country DE", ["DE"]) == "de facto: country <text>"
    assert normalised("Customer acme gmbh", ["ACME GmbH"]) == "Customer <text>"


def test_texts_of_payloads_are_bounded_and_never_raise() -> None:
    assert sorted(
        texts_of(
            [b'{"a": ["ACME GmbH", 5, null, {"b": " Beta "}], "c": "is", "d": "DE"}', b'"text"']
        )
    ) == [
        "ACME GmbH",
        "Beta",
        "DE",
        "text",
    ]
    assert texts_of([b"no json", b"[" * 100_000]) == []
    assert texts_of([b'"' + b"x" * 9_000 + b'"']) == ["x" * 1_000]
    many = b",".join(b'"text %d"' % number for number in range(9_000))
    assert len(texts_of([b"[" + many + b"]"])) == 500


PAGE = "Invoice 17 of ACME GmbH, Müllerstraße 5, for the delivery of twelve boxes " * 5


@pytest.mark.parametrize(
    ("messages", "particulars"),
    [
        (
            [
                "amount 12.5 too large",
                "amount -3 too large",
                "amount 1e-07 too large",
                "amount 12345678901.5 too large",
                "amount 7.25E+20 too large",
            ],
            [],
        ),
        (["rows [1] are empty", "rows [4, 5, 12345678] are empty"], []),
        (["tags ['a'] are unknown", "tags ['b', 'c'] are unknown"], []),
        (
            [
                "no such row: {'a': 1, 'b': None, 'c': ['x', 2]}",
                "no such row: {'a': 'y', 'b': True}",
            ],
            [],
        ),
        (["東京株式会社が見つかりません", "ACMEが見つかりません"], ["東京株式会社", "ACME"]),
        ([f"cannot read {PAGE}", f"cannot read {PAGE[:50]}", "cannot read Anna"], [PAGE, "Anna"]),
        (
            ["no text layer in claim-anna", "no text layer in /in/claim-anna.pdf"],
            ["/in/claim-anna.pdf"],
        ),
        (["no text layer in scan", "no text layer in bill"], ["a/scan.pdf", "b/bill.tiff"]),
    ],
)
def test_forms_of_one_message_are_one_group(messages: list[str], particulars: list[str]) -> None:
    assert (
        len({fingerprint("s", Failure("bug", "E", one), particulars) for one in messages}) == 1
    ), [normalised(one, particulars) for one in messages]


def test_what_the_message_says_itself_keeps_groups_apart() -> None:
    page = ["the customer's amount was not found", PAGE]
    said = [
        "customer not found",
        "amount not found",
        "customer missing",
        "got None",
        "got True",
        "rows [] are empty",
        "rows [1] are empty",
    ]
    assert len({normalised(one, page) for one in said}) == len(said)


@step()
async def looked_up(order: Order) -> str:
    """No customer is ever found."""
    raise BadInputError(
        f"customer {order.kind} not found for {order.id}, which has {order.numbers}"
    )


@pipeline(version="1", key=lambda order: order.id)
def lookup(order: Order) -> str:
    """One step."""
    return looked_up(order)


def test_one_cause_is_one_group_in_the_ledger(tmp_path: Path) -> None:
    app = App(home=tmp_path / "home", ledger="", workers=1)
    orders = [
        Order(f"{name} / {number}", kind=name, numbers=[number])
        for number, name in enumerate(NAMES[:6])
    ]
    app.run([lookup], [(lookup, order) for order in orders])
    with closing(app.reads()) as reads:
        (group,) = reads.groups(None, 10)
    assert group["dead_letters"] == 6
