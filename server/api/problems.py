"""Faults as answers: one table from error class to status, RFC 9457 documents, and nothing of the input in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from server.api.admission import ExchangeUnderWay, ServerBusy
from server.api.body import BodyTimedOut, UnsupportedMediaType
from server.api.parts import Parts, parts_of
from server.application.batch import DeviceBarred, DeviceRevoked, TownBusy
from server.application.commands.act import RuleRefused
from server.application.commands.administer import PinUnusable
from server.application.commands.check_out import NotOnSale
from server.application.commands.pay_order import CardNotOffered, NothingDue, PaymentPending, PaymentTriesUsed
from server.application.commands.settle_quarantine import StillFails, StillUnreadable
from server.application.histories import HistoryAltered
from server.application.history_ports import TownHalted
from server.application.payment_ports import ProviderRefused, ProviderUnintelligible
from server.application.ports import OutcomeUnknown, TownUnknown, Unavailable
from server.application.queries.schools import NobodyCharged
from server.application.released import ChainReleased
from server.domain.access import InvalidClient, NotFound, Unauthorized
from server.domain.devices import EnrolmentRefused, KeyAlreadyUsed, NotEnrolable
from server.domain.passwords import PasswordUnusable
from server.domain.people import (
    CrossSite,
    NotFresh,
    NotPermitted,
    NotSignedIn,
    SecondFactorNeeded,
    SecondFactorState,
    SignInLocked,
    SignInRefused,
)
from server.domain.rates import RateLimited
from server.domain.requests import IdempotencyMismatch
from sync.engine.chain import encode_bytes
from sync.engine.receipts import ReceiptAltered, ReceiptForged, ReceiptKeyUnknown, ReceiptReused
from sync.kernel.clock import format_time
from sync.kernel.errors import ChainBroken, ChainForked, ChainGap, LimitExceeded, Malformed, TallystickError
from sync.protocol.bundle import wipe_message

PROBLEM_TYPE = "application/problem+json"
INTERNAL = 500

_log = structlog.stdlib.get_logger(__name__)


class HeadTooLarge(TallystickError):
    """The request's head is too large: too many headers, or too much in them or in the address."""

    code: ClassVar[str] = "head_too_large"


class UpgradeRequired(TallystickError):
    """This version of the app is too old or too new for the server; update it, what it recorded is safe."""

    code: ClassVar[str] = "upgrade_required"


STATUS: Mapping[type[TallystickError], int] = {
    Malformed: 400,
    Unauthorized: 401,
    InvalidClient: 401,
    NotSignedIn: 401,
    SecondFactorNeeded: 401,
    SignInRefused: 401,
    DeviceBarred: 403,
    CrossSite: 403,
    EnrolmentRefused: 403,
    NotFresh: 403,
    NotPermitted: 403,
    NotFound: 404,
    TownUnknown: 404,
    BodyTimedOut: 408,
    CardNotOffered: 409,
    ChainBroken: 409,
    ChainForked: 409,
    ChainGap: 409,
    ChainReleased: 409,
    HistoryAltered: 409,
    KeyAlreadyUsed: 409,
    NobodyCharged: 409,
    NotOnSale: 409,
    NothingDue: 409,
    PaymentPending: 409,
    PaymentTriesUsed: 409,
    RuleRefused: 409,
    SecondFactorState: 409,
    StillFails: 409,
    StillUnreadable: 409,
    LimitExceeded: 413,
    UnsupportedMediaType: 415,
    IdempotencyMismatch: 422,
    NotEnrolable: 422,
    PasswordUnusable: 422,
    PinUnusable: 422,
    ReceiptAltered: 422,
    ReceiptForged: 422,
    ReceiptKeyUnknown: 422,
    ReceiptReused: 422,
    UpgradeRequired: 426,
    RateLimited: 429,
    HeadTooLarge: 431,
    SignInLocked: 429,
    ExchangeUnderWay: 503,
    ServerBusy: 503,
    TownBusy: 503,
    TownHalted: 503,
    ProviderRefused: 503,
    ProviderUnintelligible: 503,
    Unavailable: 503,
    OutcomeUnknown: 504,
}
"""The status of a fault, or of the nearest class above it; every other fault is our own and a 500."""

_TITLES = {
    404: ("not_found", "There is nothing here."),
    405: ("method_not_allowed", "This is not done here like this."),
}
_ENCODINGS_TAKEN = "zstd, gzip"
_RETRY_AFTER_SECONDS = 1


def install_problems(app: FastAPI) -> None:
    """Make every fault of `app` a problem document."""
    app.add_exception_handler(TallystickError, answer_fault)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(Exception, _answer_unexpected)


def problem(
    status: int, code: str, title: str, *, members: Mapping[str, Any] | None = None, headers: Mapping[str, str]
) -> Response:
    """A problem document (RFC 9457): type, title, status and our stable `code`, with further members."""
    said = {"type": f"urn:tallystick:problem:{code}", "title": title, "status": status, "code": code, **(members or {})}
    return Response(orjson.dumps(said), status_code=status, media_type=PROBLEM_TYPE, headers=dict(headers))


def status_of(fault: TallystickError) -> int:
    """The status of a fault of ours."""
    return next((STATUS[kind] for kind in type(fault).__mro__ if kind in STATUS), INTERNAL)


async def answer_fault(request: Request, fault: Exception) -> Response:
    """The problem document of a fault of ours."""
    assert isinstance(fault, TallystickError)
    status = status_of(fault)
    if status == INTERNAL:
        _log.error("unexpected_fault", code=fault.code, exc_info=fault)
        return _internal()
    _log.info("problem", code=fault.code, status=status)
    members: dict[str, Any] = {"detail": fault.message}
    if isinstance(fault, ChainGap):
        members["expected_seq"] = fault.expected_seq
    if isinstance(fault, ChainReleased):
        members["from_seq"] = fault.from_seq
        line = fault.head.line.decode() if fault.head.line else None
        members["head"] = {"line": line, "sig": fault.head.signature, "epoch": fault.head.epoch}
    if isinstance(fault, InvalidClient):
        members |= {"error": fault.code, "server_time": fault.server_time}  # `error` as RFC 6749, section 5.2, has it
    if isinstance(fault, DeviceRevoked) and fault.device_id:
        members["wipe"] = wipe_order(fault, parts_of(request))
    code = fault.code
    if isinstance(fault, RuleRefused):
        code = fault.rule
        members["data"] = dict(fault.data)
    title = (type(fault).__doc__ or "").strip()
    return problem(status, code, title, members=members, headers=_headers(fault))


def wipe_order(revoked: DeviceRevoked, parts: Parts) -> dict[str, Any]:
    """What makes the SDK hand in what is not here and destroy its replica: the order, signed, and what is here."""
    at = format_time(parts.system.now_ms())
    sig = parts.signer.sign(wipe_message(revoked.town_id, revoked.device_id, at))
    order = {"town": revoked.town_id, "device": revoked.device_id, "at": at, "kid": parts.signer.kid, "sig": sig}
    if revoked.last is None:
        return order
    return {**order, "last": {"seq": revoked.last.seq, "hash": encode_bytes(revoked.last.digest)}}


def _headers(fault: TallystickError) -> dict[str, str]:
    if isinstance(fault, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}  # RFC 6750, section 3
    if isinstance(fault, NotSignedIn | SignInRefused | SecondFactorNeeded):
        return {"WWW-Authenticate": "Session"}  # a scheme of our own: the browser must not ask by itself
    is_unknown = isinstance(fault, OutcomeUnknown)  # to ask again by itself is what must not be done then
    if (
        isinstance(fault, Unavailable | ExchangeUnderWay | ServerBusy | SignInLocked | RateLimited | TownHalted)
        and not is_unknown
    ):
        return {"Retry-After": str(fault.retry_after_seconds)}
    if isinstance(fault, TownBusy):
        return {"Retry-After": str(_RETRY_AFTER_SECONDS)}
    if isinstance(fault, UnsupportedMediaType):
        return {"Accept-Encoding": _ENCODINGS_TAKEN}  # RFC 9110, section 12.5.3
    return {}


async def _answer_http(_request: Request, fault: Exception) -> Response:
    """What the router says: no such route, no such method."""
    assert isinstance(fault, HTTPException)
    code, title = _TITLES.get(fault.status_code, (f"http_{fault.status_code}", "The request is not taken."))
    return problem(fault.status_code, code, title, headers=fault.headers or {})


async def _answer_invalid(_request: Request, fault: Exception) -> Response:
    assert isinstance(fault, RequestValidationError)
    return problem(422, "invalid_request", "A part of the address or the body is not of its form.", headers={})


async def _answer_unexpected(_request: Request, _fault: Exception) -> Response:
    """The traceback is logged by the layer around the application, with the same request id."""
    return _internal()


def _internal() -> Response:
    members = {"request_id": structlog.contextvars.get_contextvars().get("request_id")}
    return problem(INTERNAL, "internal", "Something went wrong on the server.", members=members, headers={})
