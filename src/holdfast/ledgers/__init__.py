"""Ledgers: a file each behind the contract in ``holdfast.ledger``; their SQL lies in named queries
below ``sql``."""
