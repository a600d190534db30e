"""What every list reads from its address: how many rows, beyond which one, and values of their field's kind.

A cursor says where a page ended in its order; it proves nothing and opens nothing: whatever it says is only compared
with.
"""

from __future__ import annotations

import base64
from typing import Any, ClassVar

import orjson

from sync.kernel.clock import format_time, parse_time
from sync.kernel.errors import Malformed
from sync.kernel.ids import parse_id
from sync.kernel.module import FieldKind

PAGE_ROWS = 50
PAGE_ROWS_MAX = 200
TEXT_CHARACTERS_MAX = 500
_CURSOR_CHARACTERS_MAX = 4096
_INTEGER_DIGITS_MAX = 15


class InvalidQuery(Malformed):
    """The address asks for a list in a way that this list does not know."""

    code: ClassVar[str] = "invalid_query"


def read_limit(text: str) -> int:
    """How many rows a page has. Raises `InvalidQuery`."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(PAGE_ROWS_MAX))):
        raise InvalidQuery(f"limit is a whole number from 1 to {PAGE_ROWS_MAX}")
    if not 1 <= int(text) <= PAGE_ROWS_MAX:
        raise InvalidQuery(f"limit is a whole number from 1 to {PAGE_ROWS_MAX}")
    return int(text)


def read_value(parameter: str, text: str, kind: FieldKind) -> Any:
    """A value of this kind, so that the database is never the first to notice. Raises `InvalidQuery`."""
    try:
        if kind is FieldKind.ID:
            return parse_id(text)
        if kind is FieldKind.TIME:
            return format_time(parse_time(text))
        if kind is FieldKind.BOOLEAN:
            return {"true": True, "false": False}[text]
        if kind is FieldKind.INTEGER and text.removeprefix("-").isdecimal() and len(text) <= _INTEGER_DIGITS_MAX:
            return int(text)
    except (Malformed, KeyError):
        raise InvalidQuery(f"{parameter} is not of its form ({kind.value})") from None
    if kind is not FieldKind.TEXT or len(text) > TEXT_CHARACTERS_MAX or "\0" in text:
        raise InvalidQuery(f"{parameter} is not of its form ({kind.value})")
    return text


def write_cursor(order: str, value: Any, row_id: str) -> str:
    """Where a page in this order ended."""
    return base64.urlsafe_b64encode(orjson.dumps([order, str(value), row_id])).rstrip(b"=").decode()


def read_cursor(text: str, order: str, kind: FieldKind) -> tuple[Any, str]:
    """Where the page before ended. Raises `InvalidQuery`, also for a cursor of another order."""
    fault = InvalidQuery("the cursor is not one of this list in this order")
    if len(text) > _CURSOR_CHARACTERS_MAX:
        raise fault
    try:
        said = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        named, value, row_id = said
        if named != order:
            raise fault
        return read_value("cursor", value, kind), parse_id(row_id)
    except (ValueError, TypeError, AttributeError, Malformed):
        raise fault from None
