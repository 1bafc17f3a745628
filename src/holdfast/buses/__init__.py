"""Brokers: a file each behind the contract in ``holdfast.bus``."""
