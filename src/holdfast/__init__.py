"""Holdfast runs AI pipelines without ever losing an item: the public names."""

from holdfast.app import App
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
from holdfast.model.combinators import case, each, first_ok, route
from holdfast.model.context import Context
from holdfast.model.pipeline import Pipeline, pipeline
from holdfast.model.policy import Batch, Retry, Timeout
from holdfast.model.step import Failed, step
from holdfast.model.transaction import Transaction

__all__ = [
    "App",
    "BacklogFullError",
    "BadInputError",
    "Batch",
    "Context",
    "DefinitionError",
    "EdgeTypeError",
    "Failed",
    "HoldfastError",
    "InputError",
    "LedgerError",
    "ModelError",
    "OutOfMemoryError",
    "Pipeline",
    "Retry",
    "StepError",
    "Timeout",
    "Transaction",
    "TransientError",
    "case",
    "each",
    "first_ok",
    "pipeline",
    "route",
    "step",
]
