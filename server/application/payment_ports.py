"""The port of whoever moves money for us, and its faults.

A provider is asked under a reference of ours, which never changes for one intent: asking again under it moves nothing a
second time. What it says is believed only when we have asked; what it sends by itself is a hint.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from server.application.ports import Unavailable
from sync.kernel.errors import TallystickError


class ProviderUnavailable(Unavailable):
    """The payment provider does not answer, or not in time; whether it has heard us is not known."""

    code: ClassVar[str] = "provider_unavailable"


class ProviderRefused(TallystickError):
    """The payment provider takes this request from nobody; asking again changes nothing."""

    code: ClassVar[str] = "provider_refused"


class ProviderUnintelligible(TallystickError):
    """The payment provider answered something that cannot be read; somebody has to look."""

    code: ClassVar[str] = "provider_unintelligible"


class WordKind(StrEnum):
    """How far the provider is."""

    PENDING = "PENDING"
    SUCCESSFUL = "SUCCESSFUL"
    FAILED = "FAILED"
    REVERSED = "REVERSED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """What a provider says of one request: `amount` with its currency's places, `reference` the provider's own.

    `reason` is any text that the provider has for a failure; there is no closed list of them. What was paid and taken
    back again has a reference of the provider's for that too, `reversal`.
    """

    kind: WordKind
    amount: str
    currency: str
    reference: str = ""
    reason: str = ""
    reversal: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Money that the holder of a phone number shall pay; `reference` is a UUID of version 4, `payer` an MSISDN.

    `external_id` is what the payer's and our bookkeeping know it by; `callback_url` is where the provider may call.
    """

    reference: str
    amount: str
    currency: str
    payer: str
    external_id: str
    note: str
    callback_url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Return:
    """Money that shall go back to whoever paid it under the reference `paid`."""

    reference: str
    paid: str
    amount: str
    currency: str
    external_id: str
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedByCard:
    """Money that whoever opens the provider's page shall pay; the customer comes back to `return_url` afterwards.

    The provider hands `town_id` and `payment_id` back with whatever it says by itself.
    """

    reference: str
    town_id: str
    payment_id: str
    amount: str
    currency: str
    note: str
    return_url: str


class Provider(Protocol):
    """Whoever moves money. Every call raises `ProviderUnavailable`, `ProviderRefused` or `ProviderUnintelligible`."""

    async def ask(self, reference: str) -> Word | None:
        """What has become of a request, None when the provider knows none."""
        ...

    async def give_back(self, returned: Return) -> None:
        """Have money sent back; that it was asked for before under this reference is no fault."""
        ...

    async def ask_return(self, reference: str) -> Word | None:
        """What has become of that, None when the provider knows nothing of it."""
        ...


class MobileMoney(Provider, Protocol):
    """A provider of mobile money, which asks the payer on the telephone."""

    async def request(self, wanted: Wanted) -> None:
        """Have the payer asked; that it was asked before under this reference is no fault."""
        ...


class CardPayments(Provider, Protocol):
    """A provider of cards, which has a page where the payer pays."""

    async def open(self, wanted: WantedByCard) -> str:
        """The address of the page; the same again under the same reference."""
        ...
