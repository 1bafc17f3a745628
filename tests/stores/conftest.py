"""Where the fixtures of object storage are."""

from __future__ import annotations

from tests.object_storage import endpoint, place

__all__ = ["endpoint", "place"]
