"""Reading answers over HTTP: lines, documents and events. What is not our server speaking our protocol is `Offline`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from client_sdk.application.lines import whole_lines
from client_sdk.errors import BadAnswer, Offline

if TYPE_CHECKING:
    import httpx2

DOCUMENT_BYTES_MAX = 256 * 1024
"""An answer that is one JSON document: a token, a problem, an enrolment."""

_Document = TypeVar("_Document", bound=BaseModel)


def split_lines(chunks: Iterable[bytes], line_bytes_max: int) -> Iterator[bytes]:
    """The lines in `chunks`, without newlines. Raises `Offline` for a line without end, or one that is too long."""
    return whole_lines(
        chunks,
        line_bytes_max,
        too_long=Offline(f"the answer has a line of more than {line_bytes_max} bytes; it is not a tallystick server"),
        cut=Offline("the answer was cut in the middle of a line; sync again"),
    )


def check_type(answer: httpx2.Response, expected: str) -> None:
    """Raise `Offline` for an answer of another type."""
    if type_of(answer) != expected:
        raise Offline(f"the answer is {type_of(answer)[:60] or 'of no type'}: perhaps a login page of this network")


def type_of(answer: httpx2.Response) -> str:
    """The media type, without parameters."""
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def read_document(answer: httpx2.Response) -> dict[str, Any]:
    """The JSON object of an answer; raises `Offline`."""
    body = b""
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) > DOCUMENT_BYTES_MAX:
            raise Offline(f"the answer is over {DOCUMENT_BYTES_MAX} bytes; it is not a tallystick server")
    try:
        said = orjson.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise Offline("the answer is not readable; it is not a tallystick server")
    return said


def read_as(kind: type[_Document], answer: httpx2.Response) -> _Document:
    """The document of an answer as a value; raises `Offline`, `BadAnswer`."""
    try:
        return kind.model_validate(read_document(answer))
    except ValidationError:
        raise BadAnswer(f"the answer is no {kind.__name__}") from None


def retry_after_seconds(text: str) -> float | None:
    """Seconds from a Retry-After header; dates (RFC 9110 section 10.2.3) are not used by our server."""
    return float(text) if text.isdecimal() else None


def hinted_version(data: bytes) -> int:
    """The version that an event tells."""
    try:
        version = orjson.loads(data)["version"]
    except (ValueError, KeyError, TypeError):
        version = None
    if not isinstance(version, int):
        raise Offline("the stream of hints is not readable; it is not a tallystick server's")
    return version
