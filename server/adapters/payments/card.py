"""Cards in the shape of a usual processor: a payment with a page of the provider's, and refunds.

`POST /v1/payments` makes one under an `Idempotency-Key` and answers with the address of its page; the same key gives
the same payment. `GET /v1/payments?reference=` finds what was made under our reference, so that nothing has to be
remembered here; `POST /v1/refunds` and `GET /v1/refunds?reference=` are the same for money that goes back. Amounts are
in minor units. A card's number is seen by nobody but the provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from server.adapters.payments.calls import CALL_SECONDS_MAX, Answer, Calls, said_code
from server.adapters.redis.breaker import Breaker
from server.application.payment_ports import (
    ProviderRefused,
    ProviderUnintelligible,
    Return,
    WantedByCard,
    Word,
    WordKind,
)
from sync.kernel.errors import InvalidMoney
from sync.kernel.money import to_amount, to_minor

PAGE_SECONDS_MAX: Final = 1800
"""How long a page is open; what was not paid on it by then is `expired`."""

NOTE_CHARACTERS_MAX: Final = 160
TEXT_CHARACTERS_MAX: Final = 100
URL_CHARACTERS_MAX: Final = 2000

_OK, _CREATED = 200, 201
_WORDS: Final = {
    "requires_payment": WordKind.PENDING,
    "processing": WordKind.PENDING,
    "succeeded": WordKind.SUCCESSFUL,
    "failed": WordKind.FAILED,
    "canceled": WordKind.FAILED,
    "expired": WordKind.FAILED,
    "charged_back": WordKind.REVERSED,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CardAccount:
    """Who we are at the provider."""

    base_url: str
    api_key: str = field(repr=False)


class Card:
    """The `CardPayments` port; connects when it is first used. One instance for one event loop."""

    def __init__(
        self, account: CardAccount, *, call_seconds_max: float = CALL_SECONDS_MAX, breaker: Breaker | None = None
    ) -> None:
        self._account = account
        self._calls = Calls(account.base_url, call_seconds_max=call_seconds_max, breaker=breaker)

    async def open(self, wanted: WantedByCard) -> str:
        """Made now, or there already: the key is the reference."""
        body = {
            "amount": to_minor(wanted.amount, wanted.currency),
            "currency": wanted.currency,
            "reference": wanted.reference,
            "description": wanted.note[:NOTE_CHARACTERS_MAX],
            "return_url": wanted.return_url,
            "expires_in": PAGE_SECONDS_MAX,
            "metadata": {"town": wanted.town_id, "payment": wanted.payment_id},
        }
        said = await self._made("/v1/payments", wanted.reference, body)
        try:
            page = str(said["page_url"])
        except KeyError:
            raise ProviderUnintelligible("the provider's payment has no page") from None
        if not page.startswith(("http://", "https://")) or len(page) > URL_CHARACTERS_MAX:
            raise ProviderUnintelligible("the provider's page has no address that can be opened")
        return page

    async def ask(self, reference: str) -> Word | None:
        """What became of a payment."""
        found = await self._found("payments", reference)
        return read_word(found) if found is not None else None

    async def give_back(self, returned: Return) -> None:
        """Accepted, or there already; what the provider knows no payment of cannot be given back."""
        paid = await self._found("payments", returned.paid)
        if paid is None:
            raise ProviderRefused("the provider of cards knows no payment that could be given back")
        body = {
            "payment": paid.get("id"),
            "amount": to_minor(returned.amount, returned.currency),
            "reference": returned.reference,
            "description": returned.note[:NOTE_CHARACTERS_MAX],
        }
        await self._made("/v1/refunds", returned.reference, body)

    async def ask_return(self, reference: str) -> Word | None:
        """What became of a refund."""
        found = await self._found("refunds", reference)
        return read_word(found) if found is not None else None

    async def close(self) -> None:
        """Hang up; a later call connects again."""
        await self._calls.close()

    async def _made(self, path: str, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        answer = await self._call("POST", path, headers, orjson.dumps(body))
        if answer.status not in {_OK, _CREATED}:
            raise ProviderRefused(f"the provider of cards answered {answer.status}: {said_code(answer.body)}")
        return _document(answer.body)

    async def _found(self, what: str, reference: str) -> dict[str, Any] | None:
        answer = await self._call("GET", f"/v1/{what}?reference={reference}", {}, None)
        if answer.status != _OK:
            raise ProviderRefused(f"the provider of cards answered {answer.status}: {said_code(answer.body)}")
        found = _document(answer.body).get("data")
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise ProviderUnintelligible
        return found[0] if found else None

    async def _call(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        known = {**headers, "Authorization": f"Bearer {self._account.api_key}"}
        return await self._calls.guarded(lambda: self._calls.send(method, path, known, body))


def read_word(said: Mapping[str, Any]) -> Word:
    """What the provider says of a payment or a refund. Raises `ProviderUnintelligible`."""
    try:
        kind, currency = _WORDS[said["status"]], str(said["currency"])
        amount = _amount(said["amount"], currency)
    except (KeyError, TypeError, ValueError, InvalidMoney):
        raise ProviderUnintelligible from None
    reason = said.get("failure_code") or (said["status"] if kind is WordKind.FAILED else "")
    return Word(
        kind=kind,
        amount=amount,
        currency=currency,
        reference=_text(said.get("charge")),
        reason=_text(reason),
        reversal=_text(said.get("dispute")),
    )


def _amount(minor: object, currency: str) -> str:
    """`1250` -> `"12.50"` for a currency of two places."""
    if not isinstance(minor, int) or isinstance(minor, bool) or minor < 0:
        raise TypeError
    amount = to_amount(minor, currency)
    to_minor(amount, currency)
    return amount


def _text(said: object) -> str:
    return str(said or "")[:TEXT_CHARACTERS_MAX]


def _document(body: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(body)
    except ValueError:
        raise ProviderUnintelligible from None
    if not isinstance(said, dict):
        raise ProviderUnintelligible
    return said
