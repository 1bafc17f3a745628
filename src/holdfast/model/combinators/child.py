"""``child``: a pipeline called in a pipeline, as an item of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from holdfast.model.arguments import checked, refuse
from holdfast.model.kinds import shown
from holdfast.model.pipeline import Pipeline
from holdfast.model.specs import ChildSpec
from holdfast.model.tracing import tracer

A = TypeVar("A")
T = TypeVar("T")


@checked("child()")
def child(pipeline: Pipeline[A, T]) -> Callable[[A], T]:
    """Call a pipeline as an item of its own, linked to this one: ``child(invoices)(document)``.

    The child is admitted in the transaction that starts it, under a key made of this item's, and
    any runner that serves its pipeline may drive it: ``each(child(invoices))(documents)`` spreads
    the elements over runners. Deadline, correlation and trace go along. When this item no longer
    needs the child, the child is cancelled. (Called directly, ``invoices(document)``, its steps run
    within this item.)

    Args:
        pipeline: what to call.

    Raises:
        DefinitionError: what is given is no pipeline, or its payload would be read as another
            type.
    """
    if not isinstance(pipeline, Pipeline):
        refuse(
            "child()",
            f"it takes a pipeline, not {shown(pipeline)}: decorate a function with @pipeline(…)",
        )

    def call(payload: Any) -> Any:
        active = tracer()
        if active is None:
            return pipeline(payload)
        ref = active.handed_on(payload, f"child({pipeline.name})", pipeline.input_type)
        return active.output(
            active.add(
                "child", pipeline.name, (ref,), pipeline.graph.output_type, spec=ChildSpec(pipeline)
            )
        )

    call.__name__ = pipeline.name
    return call
