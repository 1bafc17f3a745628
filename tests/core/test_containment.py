"""A function that raises ends one item of fifty. (``python -m pytest tests/core/containment.py``
tries every function.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.core import containment
from tests.core.containment import baseline

pytestmark = pytest.mark.slow

__all__ = ["baseline"]


@pytest.mark.parametrize(
    "name",
    [
        "core.apply.apply",
        "core.apply.start",
        "core.attempts.keep_success",
        "core.restore.begin",
        "core.settle.settle_success",
    ],
)
def test_what_fails_in_the_core_is_one_items_own(name: str, baseline: Any, tmp_path: Path) -> None:
    containment.test_a_function_that_raises_ends_one_item(name, baseline, tmp_path)
