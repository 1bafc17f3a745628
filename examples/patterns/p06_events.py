"""Events: what one pipeline emits starts another and wakes a third; a consumer is added without
touching the producer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from examples.patterns.running import example
from holdfast import emit, on, pipeline, step, wait_for


@dataclass
class Record:
    """What is told."""

    claim: str
    amount: int


@dataclass
class Paid:
    """The answer."""

    claim: str
    at: str


@step()
async def recorded(claim: str) -> Record:
    """The end of a claim."""
    return Record(claim, len(claim) * 100)


@step()
async def receipt(claim: str, paid: Paid) -> str:
    """After the payment."""
    return f"{claim} was paid on {paid.at}"


@pipeline(version="1", key=str)
def claims(claim: str) -> str:
    """Tells that it is recorded, and waits (in the ledger, not in a worker) until it is paid."""
    record = recorded(claim)
    emit("claim.recorded")(record, key=record.claim)
    return receipt(claim, wait_for("claim.paid", Paid, timeout="7d")(record.claim))


@step()
async def transfer(record: Record) -> Paid:
    """Pays."""
    return Paid(record.claim, "Monday")


@on("claim.recorded", where=lambda record: record.amount >= 500)
@pipeline(version="1", key=lambda record: record.claim)
def payments(record: Record) -> Paid:
    """Started by the event; it emits one itself."""
    paid = transfer(record)
    emit("claim.paid")(paid, key=paid.claim)
    return paid


def main() -> dict[str, Any]:
    """One claim is paid by the other pipeline, a small one by an event from outside."""
    with example() as here:
        here.run([claims, payments], "glass", "tin")
        waiting = here.result("tin")
        here.app.publish("claim.paid", Paid("tin", "Friday"), key="tin")
        here.run([claims, payments])
        reads = here.app.reads()
        results = {row["key"]: row["state"] for row in reads.items("claims", None, 9)}
        return {"tin before": waiting, "states": results, "who": reads.topology()}


if __name__ == "__main__":
    print(main())
