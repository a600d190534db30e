"""`/v1/sessions`: signing in and out, and what protects the account: the password and the second factor."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, NO_CONTENT, document, gives, read_document, tagged, takes, understood
from server.api.parts import staff_door_of
from server.api.staff import Caller, check_origin, drop_session, session_token, set_session
from server.application.commands.protect_account import (
    change_password,
    confirm_second_factor,
    drop_second_factor,
    offer_second_factor,
)
from server.application.commands.sign_in import sign_in, sign_out, who_is
from server.domain.passwords import PASSWORD_CHARACTERS_MAX
from server.domain.people import EMAIL_CHARACTERS_MAX, Principal, csrf_token, totp_text, totp_uri

Password = Annotated[str, StringConstraints(max_length=PASSWORD_CHARACTERS_MAX)]
Code = Annotated[str, StringConstraints(min_length=1, max_length=40)]

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])

SESSION = {
    "email": "ada@example.org",
    "has_second_factor": False,
    "is_fresh": True,
    "expires_at": "2026-11-21T20:15:02.114Z",
    "csrf_token": "f0nVIvJ4xv3Hq7C1yW1mJkQvY9m1H0nq9bKq0m8t7bE",
    "towns": [
        {
            "id": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11",
            "name": "Douglas",
            "user_id": "01970a6e-3c00-7a52-9d2e-5a1f6a3f6d12",
            "user_name": "Ada Kelly",
            "roles": ["admin"],
        }
    ],
}


class SignInRequest(BaseModel):
    """Who wants to come in; `code` is of the second factor or a recovery code, for accounts that have one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    email: Annotated[str, StringConstraints(max_length=EMAIL_CHARACTERS_MAX)]
    password: Password
    code: Code | None = None


class PasswordChange(BaseModel):
    """The password so far, and the one from now on."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    password: Password
    new_password: Password


class CodeRequest(BaseModel):
    """What the authenticator app shows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    code: Code


@router.post(
    "",
    status_code=CREATED,
    responses=gives("Signed in; the cookie is set.", SESSION, status=CREATED, problems=[400, 403, 429]),
    openapi_extra=takes(SignInRequest, {"email": "ada@example.org", "password": "correct horse battery staple"}),
)
async def post_session(request: Request) -> Response:
    """Sign in. A session that the cookie named before ends; too many wrong tries are `sign_in_locked` for a while."""
    check_origin(request)
    said = understood(SignInRequest, await read_document(request))
    people = staff_door_of(request).people
    token = await sign_in(
        people,
        email=said.email,
        password=said.password,
        code=said.code,
        address=request.client.host if request.client else "",
        old_token=session_token(request),
    )
    answer = document(_described(await who_is(people, token), token), status=CREATED)
    set_session(request, answer, token)
    return answer


@router.get("/current", responses=gives("Who is signed in, and where.", SESSION))
async def get_session(request: Request, caller: Caller) -> Response:
    """The session, with the CSRF token that a page needs for whatever changes something."""
    return tagged(request, _described(caller.principal, caller.token))


@router.delete(
    "/current", status_code=NO_CONTENT, responses=gives("Signed out.", None, status=NO_CONTENT, problems=[403])
)
async def delete_session(request: Request, caller: Caller) -> Response:
    """Sign out."""
    await sign_out(staff_door_of(request).people, caller.token)
    answer = Response(status_code=NO_CONTENT)
    drop_session(request, answer)
    return answer


@router.put(
    "/current/password",
    status_code=NO_CONTENT,
    responses=gives("Changed.", None, status=NO_CONTENT, problems=[400, 403, 422, 429]),
    openapi_extra=takes(PasswordChange, {"password": "correct horse battery staple", "new_password": "a new long one"}),
)
async def put_password(request: Request, caller: Caller) -> Response:
    """Another password; every other session of the account ends."""
    said = understood(PasswordChange, await read_document(request))
    people = staff_door_of(request).people
    await change_password(people, caller.principal, caller.token, password=said.password, new=said.new_password)
    return Response(status_code=NO_CONTENT)


@router.post(
    "/current/totp",
    status_code=CREATED,
    responses=gives(
        "The secret for an authenticator app; it counts once it is confirmed.",
        {"secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "uri": "otpauth://totp/Tallystick:ada%40example.org?secret=…"},
        status=CREATED,
        problems=[403, 409],
    ),
)
async def post_totp(request: Request, caller: Caller) -> Response:
    """Begin to have a second factor (RFC 6238: SHA-1, 6 digits, 30 seconds)."""
    secret = await offer_second_factor(staff_door_of(request).people, caller.principal)
    return document({"secret": totp_text(secret), "uri": totp_uri(secret, caller.principal.email)}, status=CREATED)


@router.post(
    "/current/totp/confirmation",
    responses=gives(
        "From now on it is asked for. The recovery codes are shown this once.",
        {"recovery_codes": ["K7Q2-M4XB-09TR-5WZD"]},
        problems=[400, 403, 409],
    ),
    openapi_extra=takes(CodeRequest, {"code": "492039"}),
)
async def post_totp_confirmation(request: Request, caller: Caller) -> Response:
    """Show that the app has the secret."""
    said = understood(CodeRequest, await read_document(request))
    codes = await confirm_second_factor(staff_door_of(request).people, caller.principal, said.code)
    return document({"recovery_codes": list(codes)})


@router.delete(
    "/current/totp", status_code=NO_CONTENT, responses=gives("Dropped.", None, status=NO_CONTENT, problems=[403])
)
async def delete_totp(request: Request, caller: Caller) -> Response:
    """Go without a second factor again."""
    await drop_second_factor(staff_door_of(request).people, caller.principal)
    return Response(status_code=NO_CONTENT)


def _described(principal: Principal, token: str) -> dict[str, Any]:
    towns = [
        {
            "id": member.town_id,
            "name": member.town_name,
            "user_id": member.user_id,
            "user_name": member.user_name,
            "roles": sorted(member.roles),
        }
        for member in principal.memberships.values()
    ]
    return {
        "email": principal.email,
        "has_second_factor": principal.has_second_factor,
        "is_fresh": principal.is_fresh,
        "expires_at": principal.expires_at,
        "csrf_token": csrf_token(token),
        "towns": towns,
    }
