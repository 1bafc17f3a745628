"""The audit's rules for inputs that were not accepted: each is broken on purpose."""

from __future__ import annotations

import apsw
import pytest

from holdfast import App
from holdfast.inputs import Refused
from tests.intake_samples import Row, rows

SPOILT = "update refused_inputs set"


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        (f"{SPOILT} pipeline = 99", "refused-without-pipeline"),
        (f"{SPOILT} count = 0", "refused-miscounted"),
        (f"{SPOILT} count = 3, last_at = first_at - 1", "refused-miscounted"),
        (f"{SPOILT} last_at = first_at + 1", "refused-miscounted"),
        (
            f"{SPOILT} state = 'accepted', accepted_at = 9, item = 7",
            "refused-accepted-without-item",
        ),
        (
            f"{SPOILT} state = 'accepted', item = (select id from items)",
            "refused-accepted-without-item",
        ),
        (f"{SPOILT} accepted_at = 9", "refused-accepted-without-item"),
    ],
)
def test_each_rule_is_noticed(app: App, statement: str, rule: str) -> None:
    list(
        app.submit_many(rows, [Row("r-1"), Refused("/x/locked", "cannot be read")], refused="keep")
    )
    assert app.reads().audit(0)["balanced"]
    with apsw.Connection(str(app.settings.ledger_path)) as connection:
        connection.execute(statement)
    found = app.reads().audit(0)
    assert ([one["rule"] for one in found["broken"]], found["balanced"]) == ([rule], False)
