"""``review``: a task that waits for a person's answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

from holdfast.errors import DefinitionError
from holdfast.model.arguments import checked, refuse
from holdfast.model.codec import decoder, describe
from holdfast.model.domain import is_name
from holdfast.model.duration import OptionalSpan, seconds
from holdfast.model.forms import form_schema
from holdfast.model.kinds import several, shown, text
from holdfast.model.plain import outside
from holdfast.model.specs import ReviewSpec
from holdfast.model.tracing import tracer

T = TypeVar("T")


NAMES = several(
    text(
        lambda name: 0 < len(name) <= 200 and name.isprintable(), "a name of at most 200 characters"
    ),
    "the name of a person or role, or several",
)


@checked("review()")
def review(
    form: type[T],
    *,
    title: Annotated[
        str,
        text(lambda title: is_name(title, 500), "a text of at most 500 characters, without NUL"),
    ] = "",
    by: Annotated[str | Iterable[str], NAMES] = (),
    within: OptionalSpan = None,
    escalate: Annotated[str | Iterable[str], NAMES] = (),
    four_eyes: bool = False,
) -> Callable[..., T]:
    """Ask a person: a callable that shows its arguments and gives what was decided, an instance of
    ``form``.

    It waits in the ledger, not in a worker. ``holdfast reviews`` lists what is open, shows the
    values and takes exactly one decision, which is bound to the digest of what was shown.

    Args:
        form: a dataclass, msgspec or pydantic type whose fields are what the person fills in.
        title: what the reviewer reads first; by default the form's name.
        by: the name of a person or role who may decide, or several; by default anybody.
        within: how long they have, a duration; then it is escalated, or (without ``escalate``) a
            dead letter.
        escalate: who may decide from then on, for as long again.
        four_eyes: a second person must give the same answer.

    Raises:
        DefinitionError: a form that is no such type, or ``escalate`` without ``within``.
    """
    by, escalate = tuple(by), tuple(escalate)
    if escalate and within is None:
        refuse("review()", "escalate= needs within=: how long the first ones have")
    kind: Any = form
    try:
        decoder(kind)
        form_schema(kind)
    except (TypeError, DefinitionError) as error:
        refuse(
            "review()",
            f"form={shown(form)} is not allowed: a form is a dataclass, msgspec or pydantic "
            f"type: {error}",
        )
    spec = ReviewSpec(
        form,
        title or describe(form),
        by,
        None if within is None else seconds(within),
        escalate,
        four_eyes,
    )

    def call(*shown: Any) -> Any:
        active = tracer()
        if active is None:
            return outside().decide(form, shown)
        refs = tuple(
            active.reference(value, f"what review({describe(form)}) shows")[0] for value in shown
        )
        return active.output(active.add("review", "review", refs, form, spec=spec))

    call.__name__ = "review"
    return call
