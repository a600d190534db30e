"""Mobile money in the shape of MTN MoMo: collections, and refunds as disbursements.

Source: the provider's documentation of `POST /collection/v1_0/requesttopay` and its neighbours. What matters here:
`X-Reference-Id` (a UUID of version 4) is the idempotency key, and a replay is answered 409, which means that the first
got in; `GET …/{reference}` answers 200 also for FAILED; reasons come as text or as an object and are an open set;
amounts are strings, sometimes numbers. A request that ends without an answer may have got in or not: the caller asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import httpx2
import orjson

from server.adapters.payments.calls import CALL_SECONDS_MAX, Answer, Calls, said_code
from server.adapters.redis.breaker import Breaker
from server.application.payment_ports import (
    ProviderRefused,
    ProviderUnintelligible,
    Return,
    Wanted,
    Word,
    WordKind,
)
from sync.kernel.errors import InvalidMoney
from sync.kernel.money import minor_digits, to_minor

NOTE_CHARACTERS_MAX: Final = 160
REASON_CHARACTERS_MAX: Final = 200
REFERENCE_CHARACTERS_MAX: Final = 100
TOKEN_EARLY_SECONDS: Final = 60
"""A token is not used in its last minute."""

_OK, _ACCEPTED, _UNAUTHORIZED, _NOT_FOUND, _CONFLICT, _BROKEN = 200, 202, 401, 404, 409, 500
_COLLECTION, _DISBURSEMENT = "collection", "disbursement"


@dataclass(frozen=True, kw_only=True, slots=True)
class MomoAccount:
    """Who we are at the provider; `environment` is its X-Target-Environment."""

    base_url: str
    api_user: str
    api_key: str = field(repr=False)
    subscription_key: str = field(repr=False)
    environment: str = "sandbox"


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and until when by the monotonic clock it is used."""

    text: str
    until: float


class Momo:
    """The `MobileMoney` port; connects when it is first used. One instance for one event loop.

    `breaker` and `tokens` may be shared by instances that follow one another.
    """

    def __init__(
        self,
        account: MomoAccount,
        *,
        call_seconds_max: float = CALL_SECONDS_MAX,
        breaker: Breaker | None = None,
        tokens: dict[str, Token] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._calls = Calls(account.base_url, call_seconds_max=call_seconds_max, breaker=breaker)
        self._monotonic = monotonic
        self._tokens = {} if tokens is None else tokens

    async def request(self, wanted: Wanted) -> None:
        """Accepted (202), or there already (409)."""
        body = {
            "amount": wanted.amount,
            "currency": wanted.currency,
            "externalId": wanted.external_id,
            "payer": {"partyIdType": "MSISDN", "partyId": wanted.payer},
            "payerMessage": wanted.note[:NOTE_CHARACTERS_MAX],
            "payeeNote": wanted.note[:NOTE_CHARACTERS_MAX],
        }
        headers = {"X-Callback-Url": wanted.callback_url}
        await self._post(_COLLECTION, "requesttopay", wanted.reference, body, headers)

    async def ask(self, reference: str) -> Word | None:
        """What became of a request."""
        return await self._word(_COLLECTION, "requesttopay", reference)

    async def give_back(self, returned: Return) -> None:
        """Accepted, or there already."""
        body = {
            "amount": returned.amount,
            "currency": returned.currency,
            "externalId": returned.external_id,
            "payerMessage": returned.note[:NOTE_CHARACTERS_MAX],
            "payeeNote": returned.note[:NOTE_CHARACTERS_MAX],
            "referenceIdToRefund": returned.paid,
        }
        await self._post(_DISBURSEMENT, "refund", returned.reference, body, {})

    async def ask_return(self, reference: str) -> Word | None:
        """What became of a refund."""
        return await self._word(_DISBURSEMENT, "refund", reference)

    async def close(self) -> None:
        """Hang up; a later call connects again."""
        await self._calls.close()

    async def _post(
        self, product: str, what: str, reference: str, body: Mapping[str, Any], more: Mapping[str, str]
    ) -> None:
        headers = {**more, "X-Reference-Id": reference, "Content-Type": "application/json"}
        answer = await self._call("POST", product, f"/{product}/v1_0/{what}", headers, orjson.dumps(body))
        if answer.status not in {_ACCEPTED, _CONFLICT}:
            raise ProviderRefused(f"the provider answered {answer.status} to a {what}: {said_code(answer.body)}")

    async def _word(self, product: str, what: str, reference: str) -> Word | None:
        answer = await self._call("GET", product, f"/{product}/v1_0/{what}/{reference}", {}, None)
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != _OK:
            raise ProviderRefused(f"the provider answered {answer.status} when asked: {said_code(answer.body)}")
        return read_word(answer.body)

    async def _call(
        self, method: str, product: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        """One call with a token that holds; a token that was taken back is renewed once."""
        return await self._calls.guarded(lambda: self._with_token(method, product, path, headers, body))

    async def _with_token(
        self, method: str, product: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        answer = await self._send(method, path, {**headers, **await self._authorization(product)}, body)
        if answer.status == _UNAUTHORIZED:
            self._tokens.pop(product, None)
            answer = await self._send(method, path, {**headers, **await self._authorization(product)}, body)
        return answer

    async def _authorization(self, product: str) -> dict[str, str]:
        token = self._tokens.get(product)
        if token is None or self._monotonic() >= token.until:
            token = self._tokens[product] = await self._new_token(product)
        return {
            "Authorization": f"Bearer {token.text}",
            "X-Target-Environment": self._account.environment,
        }

    async def _new_token(self, product: str) -> Token:
        account = self._account
        basic = httpx2.BasicAuth(account.api_user, account.api_key)
        answer = await self._send("POST", f"/{product}/token/", {}, b"", auth=basic)
        if answer.status >= _BROKEN:
            raise httpx2.RemoteProtocolError(f"no token: HTTP {answer.status}")
        if answer.status != _OK:
            raise ProviderRefused(f"the provider gives us no token: HTTP {answer.status}")
        try:
            said = orjson.loads(answer.body)
            seconds = int(said["expires_in"]) - TOKEN_EARLY_SECONDS
            return Token(str(said["access_token"]), self._monotonic() + max(seconds, 0))
        except (ValueError, KeyError, TypeError):
            raise ProviderUnintelligible("the provider's token cannot be read") from None

    async def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        auth: httpx2.BasicAuth | None = None,
    ) -> Answer:
        keyed = {**headers, "Ocp-Apim-Subscription-Key": self._account.subscription_key}
        return await self._calls.send(method, path, keyed, body, auth)


def read_word(body: bytes) -> Word:
    """What the provider says of a request, in its answer or in a callback. Raises `ProviderUnintelligible`."""
    try:
        said = orjson.loads(body)
        kind = WordKind(said["status"])
        currency = str(said["currency"])
        return Word(
            kind=kind,
            amount=_amount(said["amount"], currency),
            currency=currency,
            reference=str(said.get("financialTransactionId") or "")[:REFERENCE_CHARACTERS_MAX],
            reason=_reason(said.get("reason")) if kind is not WordKind.SUCCESSFUL else "",
            reversal=str(said.get("reversalTransactionId") or "")[:REFERENCE_CHARACTERS_MAX],
        )
    except (ValueError, KeyError, TypeError, AttributeError, InvalidMoney):
        raise ProviderUnintelligible from None


def _amount(said: object, currency: str) -> str:
    """`"150"`, `"150.0"`, `150` -> `"150.00"` for a currency of two places; no more places than it has."""
    if not isinstance(said, str | int | float) or isinstance(said, bool):
        raise TypeError
    try:
        exact = Decimal(str(said))
        if not exact.is_finite() or exact < 0:
            raise ValueError(said)
        written = f"{exact.quantize(Decimal(1).scaleb(-minor_digits(currency))):f}"
    except InvalidOperation:
        raise ValueError(said) from None
    if Decimal(written) != exact:
        raise ValueError(said)
    to_minor(written, currency)
    return written


def _reason(said: object) -> str:
    """Text, or an object with a code and perhaps a message."""
    if isinstance(said, dict):
        said = said.get("code") or said.get("message")
    return str(said or "")[:REASON_CHARACTERS_MAX]
