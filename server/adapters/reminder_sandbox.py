"""A gateway of text messages to develop and test against: real HTTP, signatures that are checked, and no messages.

`POST /reminders` takes a reminder, once for each `Idempotency-Key`. Below `/sandbox` are the doors for whoever plays
with it: what was taken, and what the next calls meet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from server.adapters.payments.misbehaviour import json_answer, met, problem
from server.adapters.payments.scripts import Fault
from server.domain.access import Unauthorized
from server.domain.webhooks import SIGNATURE_HEADER, check_signature

GatewayFault = Literal[Fault, "302", "400", "408", "429", "garbage", "endless"]
"""What a call meets: a status in place of taking it; `garbage` and `endless` are answers of one that has taken it."""

_TAKES: Final = frozenset({"none", "500_in", "hang_in", "cut_in", "garbage", "endless"})
_ENDLESS_BYTES: Final = 1_000_000
_FIELDS: Final = frozenset({"id", "town", "to", "text", "invoice", "number"})


class ReminderChaos(BaseModel):
    """What the next calls meet, one each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_post: Annotated[tuple[GatewayFault, ...], Field(max_length=20)] = ()


class ReminderSandbox:
    """The gateway's memory and behaviour; `app` is its HTTP side. It takes what one of `secrets` has signed of late."""

    def __init__(self, secrets: Sequence[bytes], *, clock: Callable[[], float] = time.time) -> None:
        self.secrets = tuple(secrets)
        self._clock = clock
        self.taken: dict[str, dict[str, Any]] = {}
        """What it has sent on, by the key it came under."""
        self.posts: list[str] = []
        """The key of every call that was signed, as often as it came."""
        self._faults: list[GatewayFault] = []
        self.app = Starlette(routes=self.routes())

    def routes(self) -> list[Route]:
        """The door of the gateway, and those for whoever plays with it."""
        return [
            Route("/reminders", self._post, methods=["POST"]),
            Route("/sandbox/reminders", self._list, methods=["GET"]),
            Route("/sandbox/reminder-chaos", self._put_chaos, methods=["PUT"]),
        ]

    def have(self, *faults: GatewayFault) -> None:
        """From now on the next calls meet these."""
        self._faults = list(faults)

    async def _post(self, request: Request) -> Response:
        key, body = request.headers.get("idempotency-key", ""), await request.body()
        try:
            check_signature(request.headers.get(SIGNATURE_HEADER, ""), body, self.secrets, int(self._clock()))
        except Unauthorized as forged:
            return problem(401, forged.code)
        said = orjson.loads(body)
        if not key or said.get("id") != key or said.keys() != _FIELDS:
            return problem(400, "invalid_request")
        self.posts.append(key)
        fault = self._faults.pop(0) if self._faults else "none"
        if fault in _TAKES and self.taken.setdefault(key, said) != said:
            return problem(409, "idempotency_mismatch")
        return await _answer(fault, key)

    async def _list(self, _request: Request) -> Response:
        return json_answer(200, list(self.taken.values()))

    async def _put_chaos(self, request: Request) -> Response:
        try:
            self.have(*ReminderChaos.model_validate_json(await request.body()).on_post)
        except ValidationError as fault:
            return json_answer(400, {"code": "INVALID_CHAOS", "message": str(fault)})
        return Response(status_code=204)


async def _answer(fault: GatewayFault, key: str) -> Response:
    if fault == "302":
        return RedirectResponse("/elsewhere", status_code=302)
    if fault == "garbage":
        return Response(b"\xff\x00<", media_type="application/json")
    if fault == "endless":
        return Response(bytes(_ENDLESS_BYTES))
    if fault in ("400", "408", "429"):
        return problem(int(fault), "no_such_number" if fault == "400" else "not_now")
    return await met(fault) or json_answer(202, {"id": key})
