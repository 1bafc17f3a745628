"""The public test kit: a clock that tests own, the deterministic simulator, a PostgreSQL of one's
own, connections for plain-Python runs."""

from holdfast.model.plain import Outside
from holdfast.model.plain import plain_outside as outside
from holdfast.model.transaction import plain_transaction
from holdfast.testing.clock import FakeClock
from holdfast.testing.postgres import LocalPostgres
from holdfast.testing.simulator import SimulationResult, simulate

__all__ = [
    "FakeClock",
    "LocalPostgres",
    "Outside",
    "SimulationResult",
    "outside",
    "plain_transaction",
    "simulate",
]
