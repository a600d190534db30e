"""A provider of mobile money to develop and test against: real HTTP, no money, and every way to go wrong.

It answers as MTN MoMo does, keeps its requests in memory, and calls back by itself. What becomes of a request is said
by the payer's number (`scripts.BY_NUMBER`), or by a script that somebody has put there while it runs. Below `/sandbox`
are the doors for whoever plays with it; they are open, so it listens on this machine only.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

import httpx2
import orjson
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.adapters.payments.misbehaviour import json_answer, met, problem
from server.adapters.payments.scripts import BY_NUMBER, Callback, Fault, Script
from server.application.payment_ports import WordKind

TOKEN_SECONDS: Final = 3600
CALLBACK_SECONDS_MAX: Final = 5.0
NOTE_CHARACTERS_MAX: Final = 160
EVERYBODY: Final = "*"
_ECHOED = ("externalId", "payer", "payerMessage", "payeeNote")
_UUID_VERSION = 4


@dataclass(kw_only=True, slots=True)
class Held:
    """A request, or a refund of one, as the provider holds it."""

    reference: str
    body: dict[str, Any]
    script: Script
    callback_url: str
    accepted: float
    number: int
    asks: int = 0
    set_to: WordKind | None = None
    callbacks: list[int] = field(default_factory=list)
    """What was answered to each call back; 0 when nothing was."""

    @property
    def payer(self) -> str:
        """The number that pays."""
        return str(self.body.get("payer", {}).get("partyId", ""))

    def word(self, now: float) -> WordKind:
        """How far it is."""
        script, age = self.script, now - self.accepted
        if self.set_to is not None:
            return self.set_to
        if (self.asks <= script.pending_asks and script.pending_asks) or age < script.after_seconds:
            return WordKind.PENDING
        if script.then is not None and age >= script.after_seconds + script.then_after_seconds:
            return script.then
        return script.word

    def says(self, word: WordKind) -> dict[str, Any]:
        """The provider's document about it."""
        script = self.script
        said: dict[str, Any] = {
            "amount": script.amount or self.body["amount"],
            "currency": script.currency or self.body["currency"],
            "status": word.value,
        }
        said |= {name: self.body[name] for name in _ECHOED if name in self.body}
        if word in {WordKind.SUCCESSFUL, WordKind.REVERSED}:
            said["financialTransactionId"] = str(100_000_000 + self.number)
        if word is WordKind.REVERSED:
            said["reversalTransactionId"] = str(900_000_000 + self.number)
        elif word is WordKind.FAILED and script.reason:
            said["reason"] = script.reason
        return said


class Sandbox:
    """The provider's memory and behaviour; `app` is its HTTP side."""

    def __init__(self) -> None:
        self.requests: dict[str, Held] = {}
        self.refunds: dict[str, Held] = {}
        self.posts: list[str] = []
        """The reference of every POST for money, as often as it came."""
        self._scripts: dict[str, Script] = dict(BY_NUMBER)
        self._met: dict[tuple[str, str], int] = {}
        self._tokens: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._http: httpx2.AsyncClient | None = None
        self.app = Starlette(routes=self.routes(), lifespan=self.lifespan)

    def script(self, number: str, script: Script) -> None:
        """From now on requests to this number go so; `*` is every number without a script of its own."""
        self._scripts[number] = script

    def forget_tokens(self) -> None:
        """Tokens that were given out do not hold any more."""
        self._tokens.clear()

    def routes(self) -> list[Route]:
        """The doors of the provider, and those for whoever plays with it."""
        return [
            Route("/{product}/token/", self._token, methods=["POST"]),
            Route("/collection/v1_0/requesttopay", self._request_to_pay, methods=["POST"]),
            Route("/collection/v1_0/requesttopay/{reference}", self._ask, methods=["GET"]),
            Route("/disbursement/v1_0/refund", self._refund, methods=["POST"]),
            Route("/disbursement/v1_0/refund/{reference}", self._ask_refund, methods=["GET"]),
            Route("/sandbox/scripts/{number}", self._put_script, methods=["PUT"]),
            Route("/sandbox/requests", self._list, methods=["GET"]),
            Route("/sandbox/requests/{reference}", self._put_word, methods=["PUT"]),
        ]

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """While it runs it can call back."""
        async with httpx2.AsyncClient(timeout=CALLBACK_SECONDS_MAX) as self._http:
            yield
            for task in self._tasks:
                task.cancel()

    async def _token(self, request: Request) -> Response:
        if not request.headers.get("authorization", "").startswith("Basic ") or not _has_key(request):
            return problem(401, "ACCESS_DENIED")
        token = secrets.token_urlsafe(24)
        self._tokens[token] = time.monotonic() + TOKEN_SECONDS
        return json_answer(200, {"access_token": token, "token_type": "access_token", "expires_in": TOKEN_SECONDS})

    async def _request_to_pay(self, request: Request) -> Response:
        return await self._take(request, self.requests)

    async def _refund(self, request: Request) -> Response:
        return await self._take(request, self.refunds)

    async def _take(self, request: Request, held: dict[str, Held]) -> Response:
        if not self._is_known(request):
            return problem(401, "ACCESS_DENIED")
        reference, raw = request.headers.get("x-reference-id", ""), await request.body()
        body = _readable(raw, is_refund=held is self.refunds)
        if body is None or not _is_reference(reference):
            return problem(400, "INVALID_REQUEST")
        self.posts.append(reference)
        script = self._script_of(body, held)
        fault = self._fault(("post", reference), script.on_post)
        if fault in {"none", "500_in", "hang_in", "cut_in"}:
            if reference in self.requests or reference in self.refunds:
                return problem(409, "RESOURCE_ALREADY_EXIST")
            await self._accept(reference, body, script, request.headers.get("x-callback-url", ""), held)
        return await met(fault) or Response(status_code=202)

    async def _accept(
        self, reference: str, body: dict[str, Any], script: Script, callback_url: str, held: dict[str, Held]
    ) -> None:
        one = held[reference] = Held(
            reference=reference,
            body=body,
            script=script,
            callback_url=callback_url,
            accepted=time.monotonic(),
            number=len(self.requests) + len(self.refunds) + 1,
        )
        if not callback_url:
            return
        if script.callback == "early":
            await self._call(one, script.word)
        elif script.callback != "never":
            self._later(self._call_as(one, script.callback))
        if script.then is not None:
            self._later(self._call_after(script.after_seconds + script.then_after_seconds, one, script.then))

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call_as(self, one: Held, how: Callback) -> None:
        word = WordKind.SUCCESSFUL if how == "forged" else one.script.word
        await self._call_after(one.script.after_seconds, one, word)
        if how == "twice":
            await self._call(one, word)
        if how == "reordered":
            await self._call(one, WordKind.PENDING)

    async def _call_after(self, seconds: float, one: Held, word: WordKind) -> None:
        await asyncio.sleep(seconds)
        await self._call(one, word)

    async def _call(self, one: Held, word: WordKind) -> None:
        assert self._http is not None
        status = 0
        with suppress(httpx2.HTTPError, httpx2.InvalidURL, OSError):
            headers = {"Content-Type": "application/json"}
            content = orjson.dumps(one.says(word))
            answer = await self._http.request(one.script.method, one.callback_url, headers=headers, content=content)
            status = answer.status_code
        one.callbacks.append(status)

    async def _ask(self, request: Request) -> Response:
        return await self._tell(request, self.requests)

    async def _ask_refund(self, request: Request) -> Response:
        return await self._tell(request, self.refunds)

    async def _tell(self, request: Request, held: dict[str, Held]) -> Response:
        if not self._is_known(request):
            return problem(401, "ACCESS_DENIED")
        one = held.get(request.path_params["reference"])
        if one is None:
            return problem(404, "RESOURCE_NOT_FOUND")
        fault = self._fault(("get", one.reference), one.script.on_get)
        if fault != "none":
            return await met(fault) or Response(status_code=500)
        one.asks += 1
        if one.asks <= one.script.hidden_asks:
            return problem(404, "RESOURCE_NOT_FOUND")
        return json_answer(200, one.says(one.word(time.monotonic())))

    async def _put_script(self, request: Request) -> Response:
        try:
            self.script(request.path_params["number"], Script.model_validate_json(await request.body()))
        except ValidationError as fault:
            return json_answer(400, {"code": "INVALID_SCRIPT", "message": str(fault)})
        return Response(status_code=204)

    async def _put_word(self, request: Request) -> Response:
        """Somebody has decided: `{"status": "SUCCESSFUL"}`; the provider calls back about it."""
        one = self.requests.get(request.path_params["reference"])
        if one is None:
            return problem(404, "RESOURCE_NOT_FOUND")
        one.set_to = WordKind(orjson.loads(await request.body())["status"])
        if one.callback_url and one.script.callback != "never":
            await self._call(one, one.set_to)
        return Response(status_code=204)

    async def _list(self, _request: Request) -> Response:
        now = time.monotonic()
        return json_answer(
            200,
            [
                {**one.says(one.word(now)), "reference": one.reference, "asks": one.asks, "callbacks": one.callbacks}
                for one in self.requests.values()
            ],
        )

    def _script_of(self, body: dict[str, Any], held: dict[str, Held]) -> Script:
        if held is self.refunds:
            paid = self.requests.get(body["referenceIdToRefund"])
            is_paid = paid is not None and paid.word(time.monotonic()) is WordKind.SUCCESSFUL
            return Script() if is_paid else Script(word=WordKind.FAILED, reason="PAYMENT_NOT_APPROVED")
        return self._scripts.get(body["payer"]["partyId"]) or self._scripts.get(EVERYBODY) or Script()

    def _fault(self, place: tuple[str, str], faults: tuple[Fault, ...]) -> Fault:
        met = self._met[place] = self._met.get(place, 0) + 1
        return faults[met - 1] if met <= len(faults) else "none"

    def _is_known(self, request: Request) -> bool:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return (
            self._tokens.get(token, 0) > time.monotonic()
            and _has_key(request)
            and bool(request.headers.get("x-target-environment"))
        )


def _readable(raw: bytes, *, is_refund: bool) -> dict[str, Any] | None:
    """The body as the provider takes it: the amount is a text, notes are short."""
    try:
        body: dict[str, Any] = orjson.loads(raw)
        is_good = isinstance(body["amount"], str) and Decimal(body["amount"]) > 0 and bool(body["currency"])
        notes = (body["payerMessage"], body["payeeNote"])
        is_short = all(len(note) <= NOTE_CHARACTERS_MAX for note in notes)
        names_whom = bool(body["referenceIdToRefund"]) if is_refund else body["payer"]["partyId"].isdigit()
    except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation):
        return None
    return body if is_good and is_short and names_whom and body["externalId"] else None


def _is_reference(text: str) -> bool:
    try:
        return UUID(text).version == _UUID_VERSION
    except ValueError:
        return False


def _has_key(request: Request) -> bool:
    return bool(request.headers.get("ocp-apim-subscription-key"))
