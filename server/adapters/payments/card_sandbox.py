"""A provider of cards to develop and test against: real HTTP, a page to pay on, signed webhooks, and no money.

What becomes of a payment is said by the number of the card that somebody types in (`scripts.BY_CARD`), or by a script
that was put there while it runs. Below `/sandbox` are the doors for whoever plays with it, open as those of the other.
"""

from __future__ import annotations

import asyncio
import secrets as randomness
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import httpx2
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from server.adapters.payments.misbehaviour import json_answer, met, problem
from server.adapters.payments.scripts import BY_CARD, Fault, Faults, Script
from server.application.payment_ports import WordKind
from server.domain.webhooks import SIGNATURE_HEADER, signed_header
from sync.kernel.money import to_minor

WEBHOOK_SECONDS_MAX: Final = 5.0
STALE_SECONDS: Final = 3600
FORM_BYTES_MAX: Final = 4096
_SAID: Final = {
    WordKind.PENDING: "processing",
    WordKind.SUCCESSFUL: "succeeded",
    WordKind.FAILED: "failed",
    WordKind.REVERSED: "charged_back",
}
_PAGE: Final = """<!doctype html><title>Sandbox</title><p>Pay {amount} {currency} in minor units. Nothing is paid here.
<form method="post"><label>Card <input name="number" value="4242424242424242"></label><button>Pay</button></form>"""


class Chaos(BaseModel):
    """What the next calls meet, one each: those that make something, and those that ask."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_post: Faults = ()
    on_get: Faults = ()


class Made(BaseModel):
    """A payment, or a refund of one, as it is asked for."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    amount: int = Field(gt=0)
    reference: str = Field(min_length=1, max_length=100)
    currency: str = ""
    payment: str = ""
    return_url: str = ""
    expires_in: int = 1800
    metadata: dict[str, str] = {}


@dataclass(kw_only=True, slots=True)
class HeldByCard:
    """A payment or a refund, as the provider holds it; without a `script` nobody has paid yet."""

    id: str
    made: Made
    currency: str
    made_at: float
    script: Script | None = None
    paid_at: float = 0
    asks: int = 0
    set_to: WordKind | None = None
    webhooks: list[int] = field(default_factory=list)
    """What was answered to each webhook; 0 when nothing was."""

    def status(self, now: float) -> str:
        """How far it is, in the provider's words."""
        if self.set_to is not None:
            return _SAID[self.set_to]
        if self.script is None:
            return "expired" if now - self.made_at > self.made.expires_in else "requires_payment"
        if self.script.pending_asks and self.asks <= self.script.pending_asks:
            return "processing"
        if self.script.then is not None and now - self.paid_at >= self.script.then_after_seconds:
            return _SAID[self.script.then]
        return _SAID[self.script.word]

    def says(self, status: str, url: str) -> dict[str, Any]:
        """The provider's document about it."""
        script = self.script or Script()
        minor = to_minor(script.amount, self.currency) if script.amount else self.made.amount
        said: dict[str, Any] = {
            "id": self.id,
            "status": status,
            "amount": minor,
            "currency": script.currency or self.currency,
            "reference": self.made.reference,
            "page_url": f"{url}/pay/{self.id}",
            "metadata": self.made.metadata,
        }
        if status in {"succeeded", "charged_back"}:
            said["charge"] = f"ch_{self.id[-12:]}"
        if status == "charged_back":
            said |= {"dispute": f"dp_{self.id[-12:]}", "failure_code": script.reason}
        if status == "failed":
            said["failure_code"] = script.reason
        return said


class CardSandbox:
    """The provider's memory and behaviour; `app` is its HTTP side.

    Webhooks go to `webhook_url`, signed with each of `secrets`; both may be set while it runs.
    """

    def __init__(self, webhook_url: str = "", secrets: Sequence[bytes] = ()) -> None:
        self.webhook_url = webhook_url
        self.secrets = tuple(secrets)
        self.payments: dict[str, HeldByCard] = {}
        """By our reference."""
        self.refunds: dict[str, HeldByCard] = {}
        self.chaos = Chaos()
        self._met = {"on_post": 0, "on_get": 0}
        self._scripts: dict[str, Script] = dict(BY_CARD)
        self._tasks: set[asyncio.Task[None]] = set()
        self._http: httpx2.AsyncClient | None = None
        self.app = Starlette(routes=self.routes(), lifespan=self.lifespan)

    def routes(self) -> list[Route]:
        """The doors of the provider, and those for whoever plays with it."""
        return [
            Route("/v1/payments", self._post_payment, methods=["POST"]),
            Route("/v1/payments", self._find_payments, methods=["GET"]),
            Route("/v1/refunds", self._post_refund, methods=["POST"]),
            Route("/v1/refunds", self._find_refunds, methods=["GET"]),
            Route("/pay/{payment}", self._show_page, methods=["GET"]),
            Route("/pay/{payment}", self._pay, methods=["POST"]),
            Route("/sandbox/cards/{number}", self._put_script, methods=["PUT"]),
            Route("/sandbox/card-chaos", self._put_chaos, methods=["PUT"]),
            Route("/sandbox/card-payments", self._list, methods=["GET"]),
            Route("/sandbox/card-payments/{reference}", self._put_word, methods=["PUT"]),
        ]

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """While it runs it can call back."""
        async with httpx2.AsyncClient(timeout=WEBHOOK_SECONDS_MAX) as self._http:
            yield
            for task in self._tasks:
                task.cancel()

    def have(self, chaos: Chaos) -> None:
        """From now on the next calls meet this."""
        self.chaos, self._met = chaos, {"on_post": 0, "on_get": 0}

    async def pay_with(self, payment: HeldByCard, number: str) -> None:
        """Somebody has typed in a card on the page; a payment that is over, or paid, stays as it is."""
        if payment.script is not None or payment.status(time.monotonic()) != "requires_payment":
            return
        payment.script, payment.paid_at = self._scripts.get(number) or Script(), time.monotonic()
        self._later(self._tell(payment))

    async def _post_payment(self, request: Request) -> Response:
        return await self._make(request, self.payments)

    async def _post_refund(self, request: Request) -> Response:
        return await self._make(request, self.refunds)

    async def _make(self, request: Request, held: dict[str, HeldByCard]) -> Response:
        key = request.headers.get("idempotency-key", "")
        if not _is_known(request) or not key:
            return problem(401, "unauthorized")
        try:
            made = Made.model_validate_json(await request.body())
        except ValidationError:
            return problem(400, "invalid_request")
        fault = self._fault("on_post")
        if fault in {"none", "500_in", "hang_in", "cut_in"}:
            before = held.get(key)
            if before is not None and before.made != made:
                return problem(409, "idempotency_mismatch")
            if before is None and not self._accept(key, made, held):
                return problem(402, "payment_not_refundable")
        return await met(fault) or json_answer(201, self._document(held[key], request))

    def _accept(self, key: str, made: Made, held: dict[str, HeldByCard]) -> bool:
        now = time.monotonic()
        one = HeldByCard(id=f"pay_{uuid4().hex}", made=made, currency=made.currency, made_at=now)
        if held is self.refunds:
            paid = next((payment for payment in self.payments.values() if payment.id == made.payment), None)
            if paid is None or paid.status(now) != "succeeded":
                return False
            one.currency, one.script, one.paid_at = paid.currency, Script(), now
        held[key] = one
        return True

    async def _find_payments(self, request: Request) -> Response:
        return await self._find(request, self.payments)

    async def _find_refunds(self, request: Request) -> Response:
        return await self._find(request, self.refunds)

    async def _find(self, request: Request, held: dict[str, HeldByCard]) -> Response:
        if not _is_known(request):
            return problem(401, "unauthorized")
        fault = self._fault("on_get")
        if fault != "none":
            return await met(fault) or Response(status_code=500)
        one = held.get(request.query_params.get("reference", ""))
        if one is None:
            return json_answer(200, {"data": []})
        one.asks += 1
        return json_answer(200, {"data": [self._document(one, request)]})

    async def _show_page(self, request: Request) -> Response:
        one = self._by_id(request)
        if one is None:
            return problem(404, "not_found")
        return HTMLResponse(_PAGE.format(amount=one.made.amount, currency=one.currency))

    async def _pay(self, request: Request) -> Response:
        one, form = self._by_id(request), (await request.body())[:FORM_BYTES_MAX]
        if one is None:
            return problem(404, "not_found")
        await self.pay_with(one, form.decode(errors="replace").partition("number=")[2].partition("&")[0])
        return RedirectResponse(one.made.return_url, status_code=303)

    def _by_id(self, request: Request) -> HeldByCard | None:
        wanted = request.path_params["payment"]
        return next((one for one in self.payments.values() if one.id == wanted), None)

    async def _put_script(self, request: Request) -> Response:
        try:
            self._scripts[request.path_params["number"]] = Script.model_validate_json(await request.body())
        except ValidationError as fault:
            return json_answer(400, {"code": "INVALID_SCRIPT", "message": str(fault)})
        return Response(status_code=204)

    async def _put_chaos(self, request: Request) -> Response:
        try:
            self.have(Chaos.model_validate_json(await request.body()))
        except ValidationError as fault:
            return json_answer(400, {"code": "INVALID_CHAOS", "message": str(fault)})
        return Response(status_code=204)

    async def _put_word(self, request: Request) -> Response:
        """Something has become of it, a charge-back say: `{"status": "REVERSED"}`; a webhook says so."""
        one = self.payments.get(request.path_params["reference"])
        if one is None:
            return problem(404, "not_found")
        one.set_to = WordKind(orjson.loads(await request.body())["status"])
        await self._send(one, one.status(time.monotonic()))
        return Response(status_code=204)

    async def _list(self, request: Request) -> Response:
        told = [{**self._document(one, request), "webhooks": one.webhooks} for one in self.payments.values()]
        return json_answer(200, told)

    def _document(self, one: HeldByCard, request: Request) -> dict[str, Any]:
        return one.says(one.status(time.monotonic()), str(request.base_url).rstrip("/"))

    def _fault(self, where: str) -> Fault:
        faults = getattr(self.chaos, where)
        self._met[where] += 1
        return faults[self._met[where] - 1] if self._met[where] <= len(faults) else "none"

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, one: HeldByCard) -> None:
        script = one.script or Script()
        status = "succeeded" if script.callback == "forged" else _SAID[script.word]
        if script.callback != "never":
            event = f"evt_{uuid4().hex}"
            await self._send(one, status, event=event)
            if script.callback == "twice":
                await self._send(one, status, event=event)
            if script.callback == "altered":
                await self._send(one, "failed", event=event)
            if script.callback == "reordered":
                await self._send(one, "processing")
        if script.then is not None:
            await asyncio.sleep(script.then_after_seconds)
            await self._send(one, _SAID[script.then])

    async def _send(self, one: HeldByCard, status: str, *, event: str = "") -> None:
        if not self.webhook_url or self._http is None:
            return
        script, answered = one.script or Script(), 0
        document = one.says(status, "")
        if script.callback == "foreign":
            document["metadata"] = {"town": str(uuid4()), "payment": str(uuid4())}
        at_seconds = int(time.time()) - (STALE_SECONDS if script.callback == "stale" else 0)
        keys = (randomness.token_bytes(32),) if script.callback == "forged" else self.secrets
        body = orjson.dumps(
            {"id": event or f"evt_{uuid4().hex}", "type": f"payment.{status}", "created": at_seconds, "data": document}
        )
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signed_header(keys, at_seconds, body)}
        with suppress(httpx2.HTTPError, httpx2.InvalidURL, OSError):
            answered = (await self._http.post(self.webhook_url, headers=headers, content=body)).status_code
        one.webhooks.append(answered)


def _is_known(request: Request) -> bool:
    return request.headers.get("authorization", "").startswith("Bearer ")
