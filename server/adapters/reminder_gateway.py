"""A gateway of text messages, reached by HTTP: a signed POST for each reminder, to the address that is set.

The body is JSON, the same bytes for one reminder for ever, and `Idempotency-Key` is the reminder's id, so that a
gateway which gets it twice sends it once. `Webhook-Signature` is over time and body, under each of our secrets, as
providers sign what they send to us (`server.domain.webhooks`). A redirect is not followed: it would take the telephone
number elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

import orjson

from server.adapters.payments.calls import CALL_SECONDS_MAX, Calls, said_code
from server.adapters.redis.breaker import Breaker
from server.application.payment_ports import ProviderUnavailable, ProviderUnintelligible
from server.application.ports import System
from server.application.reminder_ports import GatewayRefused, GatewayUnavailable, Reminder
from server.domain.webhooks import SIGNATURE_HEADER, signed_header


class HttpGateway:
    """The `Gateway` port; connects when it is first used. One instance for one event loop."""

    def __init__(
        self,
        url: str,
        secrets: Sequence[bytes],
        *,
        system: System,
        call_seconds_max: float = CALL_SECONDS_MAX,
        breaker: Breaker | None = None,
    ) -> None:
        self._url = url
        self._secrets = tuple(secrets)
        self._system = system
        whom, is_local = "the gateway of text messages", urlsplit(url).scheme == "http"  # as the setting has it
        self._calls = Calls("", call_seconds_max=call_seconds_max, breaker=breaker, whom=whom, is_local=is_local)

    async def send(self, town_id: str, reminder: Reminder) -> None:
        """Any 2xx is taken, whatever else it says; 4xx is refused, but for 408 and 429, which pass, as the rest may."""
        body = orjson.dumps(
            {
                "id": reminder.id,
                "town": town_id,
                "to": reminder.phone,
                "text": reminder.text,
                "invoice": reminder.invoice_id,
                "number": reminder.number,
            }
        )
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": reminder.id,
            SIGNATURE_HEADER: signed_header(self._secrets, self._system.now_ms() // 1000, body),
        }
        try:
            answer = await self._calls.guarded(lambda: self._calls.send("POST", self._url, headers, body))
        except (ProviderUnavailable, ProviderUnintelligible) as fault:
            raise GatewayUnavailable(fault.message) from fault
        status = answer.status
        said = f"the gateway of text messages answered HTTP {status}"
        if 400 <= status < 500 and status != HTTPStatus.REQUEST_TIMEOUT:  # noqa: PLR2004  429 was told apart before
            raise GatewayRefused(f"{said}: {said_code(answer.body)}")
        if not 200 <= status < 300:  # noqa: PLR2004
            raise GatewayUnavailable(said)

    async def close(self) -> None:
        """Hang up; a later call connects again."""
        await self._calls.close()
