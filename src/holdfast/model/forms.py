"""Forms: a type as a JSON schema, so that an answer can be checked where the type is not at hand;
what an uncertain task is asked."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from holdfast.errors import DefinitionError, InputError


def form_schema(form: Any) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a form's type.

    Raises:
        DefinitionError: the type has no fields that a person could fill in.
    """
    schema: dict[str, Any] = (
        form.model_json_schema(by_alias=False)
        if hasattr(form, "model_json_schema")
        else msgspec.json.schema(form)
    )
    root = schema["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if root.get("type") != "object" or not root.get("properties"):
        raise DefinitionError(f"{form!r} has no fields to fill in")
    return schema


def check_form(answer: Any, schema: dict[str, Any]) -> None:
    """Refuse an answer that does not fit the form.

    Raises:
        InputError: where and why it does not.
    """
    # a tenth of a second to import, so only where somebody decides
    from jsonschema import (
        Draft202012Validator,
    )

    error = next(iter(Draft202012Validator(schema).iter_errors(answer)), None)
    if error is not None:
        where = ".".join(str(part) for part in error.absolute_path)
        raise InputError(
            f"the answer does not fit the form{f' at {where}' if where else ''}: {error.message}"
        )


class Uncertain(msgspec.Struct, frozen=True):
    """What a person is asked about a task that the engine must not decide alone: a step with
    ``effects="unsafe"`` of which nobody knows whether it took effect, or one with
    ``exhausted="review"`` that has failed as often as it may.

    Attributes:
        verdict: ``retry``: run it again; ``done``: it took effect, go on with ``value``; ``bury``:
            make it a dead letter.
        value: for ``done``, the step's result as JSON.
    """

    verdict: Literal["retry", "done", "bury"]
    value: Any = None
