"""`POST /v1/oauth/token`: client credentials with `private_key_jwt` (RFC 6749 section 4.4, RFC 7523 section 2.2)."""

from __future__ import annotations

import orjson
from fastapi import APIRouter
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from server.api.body import FORM_TYPE, JSON_TYPE, read_small
from server.api.parts import parts_of
from server.application.commands.issue_token import issue_token
from sync.kernel.errors import Malformed

GRANT = "client_credentials"
ASSERTION_KIND = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

router = APIRouter()


@router.post("/v1/oauth/token")
async def post_token(request: Request) -> Response:
    """An access token for the device that signed the assertion in the form."""
    parts = parts_of(request)
    body = await read_small(request, FORM_TYPE, parts.body_limits)
    issued = await issue_token(
        _assertion(body),
        public_url=parts.public_url,
        towns=parts.towns,
        enrolments=parts.enrolments,
        signer=parts.signer,
        system=parts.system,
    )
    said = {"access_token": issued.access_token, "token_type": "Bearer", "expires_in": issued.expires_seconds}
    return Response(orjson.dumps(said), media_type=JSON_TYPE)


def _assertion(body: bytes) -> str:
    try:
        form = QueryParams(body.decode("ascii"))
    except ValueError:
        raise Malformed("the form is not readable") from None
    fixed = {"grant_type": GRANT, "client_assertion_type": ASSERTION_KIND}
    for name, value in fixed.items():
        if form.getlist(name) != [value]:
            raise Malformed(f"{name} is {value}, once")
    assertions = form.getlist("client_assertion")
    if len(assertions) != 1:
        raise Malformed("client_assertion is given once")
    return assertions[0]
