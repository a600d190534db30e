"""The part of JSON Schema (2020-12) that our OpenAPI uses; a word it does not know is a fault: none is passed over."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "null": lambda value: value is None,
}
_FORMATS = {
    "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
}
_WORDS = frozenset({"title", "description", "default", "example", "examples"})


def faults(value: Any, schema: Any, place: str = "") -> Iterator[str]:
    """What is wrong with `value`, each with its place; nothing when it fits."""
    if schema is True:
        return
    for word, said in schema.items():
        if word not in _WORDS:
            yield from (f"{place or '/'}: {fault}" for fault in _CHECKS[word](value, said, schema))
    if isinstance(value, dict):
        for name, part in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", True))
            if inner is False:
                yield f"{place}/{name}: is not taken"
            else:
                yield from faults(part, inner, f"{place}/{name}")
    if isinstance(value, list) and "items" in schema:
        for index, part in enumerate(value):
            yield from faults(part, schema["items"], f"{place}/{index}")


def _kind(value: Any, said: Any, _schema: Any) -> Iterator[str]:
    kinds = said if isinstance(said, list) else [said]
    if not any(_KINDS[kind](value) for kind in kinds):
        yield f"is no {' or '.join(kinds)}"


def _format(value: Any, said: str, _schema: Any) -> Iterator[str]:
    if isinstance(value, str) and not re.fullmatch(_FORMATS[said], value):
        yield f"is no {said}"


def _any_of(value: Any, said: list[Any], _schema: Any) -> Iterator[str]:
    if all(list(faults(value, one)) for one in said):
        yield "is none of what it can be"


def _is(good: Callable[[Any, Any], bool], kind: type | tuple[type, ...] = object) -> Callable[..., Iterator[str]]:
    def check(value: Any, said: Any, _schema: Any) -> Iterator[str]:
        if isinstance(value, kind) and not good(value, said):
            yield f"does not go with {said!r}"

    return check


def _inner(_value: Any, _said: Any, _schema: Any) -> Iterator[str]:
    return iter(())


_CHECKS: Mapping[str, Callable[..., Iterator[str]]] = {
    "type": _kind,
    "format": _format,
    "anyOf": _any_of,
    "oneOf": _any_of,
    "properties": _inner,
    "additionalProperties": _inner,
    "items": _inner,
    "required": _is(lambda value, said: set(said) <= value.keys(), dict),
    "enum": _is(lambda value, said: value in said),
    "const": _is(lambda value, said: value == said),
    "pattern": _is(lambda value, said: re.search(said, value) is not None, str),
    "minLength": _is(lambda value, said: len(value) >= said, str),
    "maxLength": _is(lambda value, said: len(value) <= said, str),
    "minItems": _is(lambda value, said: len(value) >= said, list),
    "maxItems": _is(lambda value, said: len(value) <= said, list),
    "minimum": _is(lambda value, said: value >= said, (int, float)),
    "maximum": _is(lambda value, said: value <= said, (int, float)),
}
