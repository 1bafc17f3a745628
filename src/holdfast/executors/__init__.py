"""Executors: a file each behind the contract in ``holdfast.executor``."""
