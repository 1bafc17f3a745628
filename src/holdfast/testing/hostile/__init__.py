"""The simulator's hostile worlds: what is outside of the engine fails in ways that no contract
allows, for one item among many."""

from holdfast.testing.hostile.world import INJECTIONS, HostileWorld, simulate_hostile

__all__ = ["INJECTIONS", "HostileWorld", "simulate_hostile"]
