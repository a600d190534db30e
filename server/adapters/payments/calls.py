"""Calling a provider over HTTP: how long, how much, and that one which is silent is left in peace for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import httpx2
import orjson
import structlog

from server.adapters.redis.breaker import Breaker
from server.application.payment_ports import ProviderUnavailable, ProviderUnintelligible

CALL_SECONDS_MAX: Final = 4.0
"""A whole call, a token included; less than one ring of the bell is worked on."""

ANSWER_BYTES_MAX: Final = 64 * 1024
CODE_CHARACTERS_MAX: Final = 200

_TOO_MANY, _BROKEN = 429, 500

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


class Calls:
    """Calls to one provider; connects when it is first used. One instance for one event loop.

    `breaker` may be shared by instances that follow one another; `whom` is who does not answer, in a problem. What is
    on this machine (`is_local`) is called without the proxy that the environment may name: it would leave the machine.
    """

    def __init__(
        self,
        base_url: str,
        *,
        call_seconds_max: float,
        breaker: Breaker | None = None,
        whom: str = "the payment provider",
        is_local: bool = False,
    ) -> None:
        self._base_url = base_url
        self._whom = whom
        self._is_local = is_local
        self._call_seconds_max = call_seconds_max
        self._breaker = breaker or Breaker()
        self._http: httpx2.AsyncClient | None = None

    async def guarded(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """What the call gives; raises `ProviderUnavailable` when there is no answer, or one that decides nothing."""
        if not self._breaker.may_ask():
            raise ProviderUnavailable(f"{self._whom} has not answered of late; it is left in peace for a moment")
        try:
            async with asyncio.timeout(self._call_seconds_max):
                answer = await call()
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError) as fault:
            raise self._unavailable(type(fault).__name__) from fault
        if answer.status >= _BROKEN or answer.status == _TOO_MANY:
            raise self._unavailable(f"HTTP {answer.status}")
        if self._breaker.succeeded():
            _log.info("provider_answers_again", provider=self._whom)
        return answer

    async def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        auth: httpx2.BasicAuth | None = None,
    ) -> Answer:
        """One request; the answer is read no further than it may be long."""
        if self._http is None:
            self._http = httpx2.AsyncClient(
                base_url=self._base_url, timeout=self._call_seconds_max, trust_env=not self._is_local
            )
        async with self._http.stream(method, path, headers=dict(headers), content=body, auth=auth) as response:
            said = bytearray()
            async for chunk in response.aiter_bytes():
                said += chunk
                if len(said) > ANSWER_BYTES_MAX:
                    raise ProviderUnintelligible("the provider's answer has no end")
            return Answer(status=response.status_code, body=bytes(said))

    async def close(self) -> None:
        """Hang up; a later call connects again."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def _unavailable(self, why: str) -> ProviderUnavailable:
        if self._breaker.failed():
            _log.warning("provider_silent", provider=self._whom, why=why, remedy="it is asked again later")
        return ProviderUnavailable(f"{self._whom} does not answer ({why})")


def said_code(body: bytes) -> str:
    """The provider's own code for a refusal, for a log and for the item it stays with."""
    try:
        return str(orjson.loads(body)["code"])[:CODE_CHARACTERS_MAX]
    except (ValueError, KeyError, TypeError):
        return "nothing that can be read"
