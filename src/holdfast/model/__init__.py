"""Frozen values: what a pipeline is and what happens to an item. No I/O, no clock, no setting."""
