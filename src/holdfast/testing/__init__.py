"""The public test kit: a clock that tests own, and the deterministic simulator of the engine."""

from holdfast.testing.clock import FakeClock
from holdfast.testing.simulator import SimulationResult, simulate

__all__ = ["FakeClock", "SimulationResult", "simulate"]
