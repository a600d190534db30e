"""Documents in and out: strict JSON in, JSON with an ETag out, and what OpenAPI says about both."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from server.api.body import JSON_TYPE, read_small
from server.api.parts import parts_of
from server.api.problems import PROBLEM_TYPE
from sync.kernel.errors import Malformed
from sync.protocol.codec import parse_json, read_as

DOCUMENT_BYTES_MAX = 256 * 1024
"""An order with as many lines as it may have, and room."""

OK, CREATED, NO_CONTENT, NOT_MODIFIED = 200, 201, 204, 304
_TAG_LETTERS = 22

Model = TypeVar("Model", bound=BaseModel)


async def read_document(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Raises as `read_small` does, and `Malformed`."""
    body = await read_small(request, JSON_TYPE, parts_of(request).body_limits, DOCUMENT_BYTES_MAX)
    return parse_json(body, DOCUMENT_BYTES_MAX)


def understood(kind: type[Model], said: Mapping[str, Any], **given: Any) -> Model:
    """What a document says, with what the address gives; an id is made by the server. Raises `Malformed`."""
    if said.keys() & {"id", *given}:
        raise Malformed("the document names what the address says or the server makes")
    return read_as(kind, {**said, **given}, "the document")


def document(value: Any, *, status: int = OK, location: str | None = None) -> Response:
    """The answer to something that was done."""
    headers = {"Location": location} if location else {}
    return Response(orjson.dumps(value), status_code=status, media_type=JSON_TYPE, headers=headers)


def tagged(request: Request, value: Any, *, is_public: bool = False) -> Response:
    """The answer to a question, with an ETag; only 304 when the client has just this (RFC 9110, section 13.1.2).

    What is public is the same for everybody, so that a cache on the way may keep it, and asks before it gives it out.
    """
    return tagged_body(request, orjson.dumps(value), is_public=is_public)


def tagged_body(request: Request, body: bytes, *, is_public: bool = False) -> Response:
    """As `tagged`, for a document that is written already."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:_TAG_LETTERS]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Cookie"}
    if is_public:
        headers = {"ETag": tag, "Cache-Control": "public, no-cache"}
    known = ",".join(request.headers.getlist("if-none-match"))
    if known.strip() == "*" or tag in {one.strip().removeprefix("W/") for one in known.split(",")}:
        return Response(status_code=NOT_MODIFIED, headers=headers)
    return Response(body, media_type=JSON_TYPE, headers=headers)


def takes(kind: type[BaseModel], example: Mapping[str, Any], *, given: Collection[str] = ()) -> dict[str, Any]:
    """`openapi_extra` for a route that reads `kind` by `understood`; the example is held against the kind."""
    schema = _inlined(kind.model_json_schema())
    for name in ("id", *given):
        schema["properties"].pop(name, None)
    required = [name for name in schema.get("required", []) if name in schema["properties"]]
    said = {"schema": {**schema, "required": required}, "example": dict(example)}
    return {"requestBody": {"required": True, "content": {JSON_TYPE: said}}}


def gives(
    what: str,
    example: Any,
    *,
    status: int = OK,
    schema: Any = None,
    problems: Sequence[int] = (),
    usual: Sequence[int] = (401, 404, 503),
    nullable: Collection[str] = (),
) -> dict[int | str, Any]:
    """`responses` of a route: what it answers, and the problems it may have beside the `usual` ones.

    Without a `schema` the answer has the shape of the example, of which the members in `nullable` may also be null;
    without an example it has no body.
    """
    shape = schema or _schema_of(example)
    for name in nullable:
        shape["properties"][name] = {"type": [shape["properties"][name]["type"], "null"]}
    content = {JSON_TYPE: {"schema": shape, "example": example}} if example else {}
    answers: dict[int | str, Any] = {status: {"description": what, "content": content}}
    for code in sorted({*usual, *problems}):
        answers[code] = problem_answer(code)
    return answers


def problem_answer(status: int) -> dict[str, Any]:
    """What OpenAPI says about the problems of a status, with an example of one."""
    code, title = _PROBLEM_EXAMPLES[status]
    example = {"type": f"urn:tallystick:problem:{code}", "title": title, "status": status, "code": code}
    content = {PROBLEM_TYPE: {"schema": _PROBLEM, "example": example}}
    return {"description": _PROBLEMS[status], "content": content}


_PROBLEMS: Mapping[int, str] = {
    400: "The request cannot be read.",
    401: "Nobody is signed in, or not like this.",
    403: "Your roles, the session or the page that asks do not allow this.",
    404: "There is nothing here, or nothing that you may see.",
    408: "The body came too slowly; send it again.",
    409: "The rules of the town do not allow this: `code` is the rule's id, `detail` its sentence.",
    413: "The body is larger than can be taken.",
    415: "The body is not of the type that is taken here.",
    422: "This cannot be done as it is said.",
    426: "The version of the app is too old or too new for the server.",
    429: "Too many tries have failed, or too many requests came; `Retry-After` says when.",
    503: "Not just now; `Retry-After` says when.",
    504: "It is not known whether it was done: look, or send it again under the same Idempotency-Key.",
}
_PROBLEM_EXAMPLES: Mapping[int, tuple[str, str]] = {
    400: ("malformed", "This cannot be read."),
    401: ("not_signed_in", "Nobody is signed in here, or the session is over; sign in."),
    403: ("not_permitted", "None of your roles in this town may do this."),
    404: ("not_found", "There is nothing here, or nothing that you may see."),
    408: ("body_timed_out", "The body came too slowly; send it again."),
    409: ("stock.insufficient", "The rules of the town do not allow this; the code is the rule's."),
    413: ("limit_exceeded", "The body is larger than can be taken."),
    415: ("unsupported_media_type", "The body is of a type or in an encoding that is not taken here."),
    422: ("idempotency_mismatch", "This Idempotency-Key was used for another request."),
    426: ("upgrade_required", "This version of the app is too old or too new for the server."),
    429: ("rate_limited", "Too many requests came; wait as long as Retry-After says."),
    503: ("unavailable", "The service cannot answer just now; nothing was decided, send it again."),
    504: ("outcome_unknown", "It is not known whether it was done."),
}
_PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    },
}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema without references, since it is put into the middle of another document."""
    definitions = schema.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, list):
            return [resolved(each) for each in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return resolved(definitions[part["$ref"].rpartition("/")[2]])
        return {name: resolved(value) for name, value in part.items()}

    whole: dict[str, Any] = resolved(schema)
    return whole


def _schema_of(example: Any) -> dict[str, Any]:
    """The shape of an example, as far as it can be told from it."""
    if isinstance(example, Mapping):
        members = {name: _schema_of(value) for name, value in example.items()}
        return {"type": "object", "required": list(members), "properties": members}
    if isinstance(example, list):
        return {"type": "array", "items": _schema_of(example[0]) if example else {}}
    if isinstance(example, bool):
        return {"type": "boolean"}
    if isinstance(example, int):
        return {"type": "integer"}
    return {"type": "string"} if isinstance(example, str) else {}
