"""Documents from outside as values, read strictly; a fault names the field of ours that is wrong, never the input."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sync.kernel.errors import Malformed

Model = TypeVar("Model", bound=BaseModel)

_FIELDS_TOLD = 2
"""Deeper parts of a place may be keys that the sender chose."""


def read_model(kind: type[Model], said: dict[str, Any]) -> Model:
    """`said` as a `kind`; raise `Malformed`."""
    try:
        return kind.model_validate(said)
    except ValidationError as fault:
        first = fault.errors(include_input=False, include_url=False, include_context=False)[0]
        place = first["loc"][:-1] if first["type"] == "extra_forbidden" else first["loc"]
        where = ".".join(str(part) for part in place[:_FIELDS_TOLD])
        raise Malformed(f"{where or 'the document'}: {first['msg']}") from None
