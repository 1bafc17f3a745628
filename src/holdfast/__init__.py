"""Holdfast runs AI pipelines without ever losing an item: the public names.

:class:`App` is imported when it is first asked for. Worker processes import this package for the
steps alone, and start in half the time without ledgers, settings and the web.
"""

from typing import TYPE_CHECKING, Any

from holdfast.errors import (
    BacklogFullError,
    BadInputError,
    DefinitionError,
    EdgeTypeError,
    HoldfastError,
    InputError,
    LedgerError,
    ModelError,
    OutOfMemoryError,
    StepError,
    TransientError,
)
from holdfast.model.alerts import Alerts, StepAlerts
from holdfast.model.class_rules import error_class
from holdfast.model.combinators.child import child
from holdfast.model.combinators.each import each
from holdfast.model.combinators.events import emit, on, wait_for
from holdfast.model.combinators.first_ok import first_ok
from holdfast.model.combinators.gather import branch, gather
from holdfast.model.combinators.refine import refine
from holdfast.model.combinators.review import review
from holdfast.model.combinators.route import case, route
from holdfast.model.context import Context
from holdfast.model.declaring import step
from holdfast.model.dependency import Dependency
from holdfast.model.endings import ItemDead, ItemEnded, ResultNotReady
from holdfast.model.media import Artifact
from holdfast.model.pipeline import Keep, Pipeline, pipeline
from holdfast.model.policy import Batch, Retry, Timeout
from holdfast.model.prices import Budget
from holdfast.model.redriving import RedriveRule
from holdfast.model.search import Filter
from holdfast.model.secrets import secret
from holdfast.model.step import Failed
from holdfast.model.transaction import Transaction

if TYPE_CHECKING:
    from holdfast.app import App

__all__ = [
    "Alerts",
    "App",
    "Artifact",
    "BacklogFullError",
    "BadInputError",
    "Batch",
    "Budget",
    "Context",
    "DefinitionError",
    "Dependency",
    "EdgeTypeError",
    "Failed",
    "Filter",
    "HoldfastError",
    "InputError",
    "ItemDead",
    "ItemEnded",
    "Keep",
    "LedgerError",
    "ModelError",
    "OutOfMemoryError",
    "Pipeline",
    "RedriveRule",
    "ResultNotReady",
    "Retry",
    "StepAlerts",
    "StepError",
    "Timeout",
    "Transaction",
    "TransientError",
    "branch",
    "case",
    "child",
    "each",
    "emit",
    "error_class",
    "first_ok",
    "gather",
    "on",
    "pipeline",
    "refine",
    "review",
    "route",
    "secret",
    "step",
    "wait_for",
]


def __getattr__(name: str) -> Any:
    """Import :class:`App` (PEP 562)."""
    if name == "App":
        from holdfast.app import App

        return App
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
