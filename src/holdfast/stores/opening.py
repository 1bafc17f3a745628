"""Which artifact store a place names. Object storage is an extra, so it is imported only when it is
named."""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import InputError
from holdfast.release import install
from holdfast.store import Store
from holdfast.stores.directory import DirectoryStore


def open_store(place: str, ledger: str = "") -> Store:
    """Open a directory, or object storage by its URL.

    Args:
        place: the directory or URL.
        ledger: the id of the ledger whose values are put there; empty: nobody's.

    Raises:
        InputError: the library for object storage is not installed, or the URL cannot be read.
    """
    if "://" not in place:
        return DirectoryStore(Path(place), ledger)
    try:
        from holdfast.stores.objects import ObjectStore
    except ImportError:
        raise InputError(f"object storage needs its library: {install('objects')}") from None
    return ObjectStore(place, ledger)
