"""A customer pays for an order or an invoice: by mobile money, on the telephone, or by card, on the provider's page.

Nothing is paid by that: the request is a claim until the provider has confirmed it. One is under way at a time, so that
nobody who is impatient pays twice, and there are only so many tries, so that nobody is pestered. Who asks for the page
again gets the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from server.application.commands.act import effective
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.settle_payments import wanted_by_card
from server.application.payment_ports import CardPayments
from server.application.people_ports import ListingReader, Listings, Row, Wanted, Where
from server.domain.access import NotFound
from server.domain.devices import server_device_id
from server.domain.requests import KeyedRequest
from sync.kernel.changeset import Operation
from sync.kernel.errors import TallystickError
from sync.kernel.money import to_amount
from sync.modules.billing import RequestCardPayment, RequestPayment

TRIES_MAX: Final = 10
"""Payments that are asked for of one order or invoice."""

_OVER = frozenset({"CANCELLED", "RETURNED"})


class NothingDue(TallystickError):
    """Nothing is due for this."""

    code: ClassVar[str] = "nothing_due"


class PaymentPending(TallystickError):
    """A payment for this is under way: confirm it on the telephone, pay on its page, or wait for its end."""

    code: ClassVar[str] = "payment_pending"


class PaymentTriesUsed(TallystickError):
    """This was asked for too often; pay at a counter, or on delivery."""

    code: ClassVar[str] = "payment_tries_used"


class CardNotOffered(TallystickError):
    """Nobody pays by card online here; pay by mobile money, at a counter, or on delivery."""

    code: ClassVar[str] = "card_not_offered"


class Paying(BaseModel):
    """How it is paid; by mobile money with the number of a telephone, its country first, digits only (ITU-T E.164)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    method: Literal["momo", "card"] = "momo"
    payer: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{6,14}$")] | None = None

    @model_validator(mode="after")
    def _telephone_if_asked(self) -> Self:
        if (self.method == "momo") == (self.payer is None):
            msg = "mobile money has a payer, and a card has none"
            raise ValueError(msg)
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class OnlineTill:
    """The ports; customers come back to `return_url` from the page of a card. Without `card` nobody pays by card."""

    listings: Listings
    appliers: Appliers
    card: CardPayments | None
    return_url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bill:
    """What is to be paid, and what was asked for of it so far with the payments as they were asked for."""

    due_minor: int
    currency: str
    settlements: list[Row]
    payments: dict[str, Row]

    @property
    def pending(self) -> Row | None:
        """The payment that is under way."""
        return next((one for one in self.settlements if one.fields["status"] == "PENDING"), None)

    @property
    def tries(self) -> int:
        """How often it was asked for; what a counter took was not."""
        return sum(payment.fields["status"] == "PENDING" for payment in self.payments.values())


Target = tuple[Literal["order", "invoice"], str]
"""What is paid for."""


async def pay_online(
    town_id: str, target: Target, paying: Paying, request: KeyedRequest, till: OnlineTill
) -> dict[str, Any]:
    """Ask for it, or say what has become of it when the same request came before; as `payments_of` has it.

    By card the answer has the `page` to pay on, as long as it is not paid. Raises `NotFound`, `NothingDue`,
    `PaymentPending`, `PaymentTriesUsed`, `CardNotOffered`, `IdempotencyMismatch`, `RuleRefused`, what `Appliers.author`
    raises, and the faults of a provider.
    """
    payment_id = request.operation_id(town_id, 0)
    async with till.listings.reading((town_id,), town_id) as reader:
        bill = await _bill(reader, target)
    if paying.method == "card" and till.card is None:
        raise CardNotOffered
    pending = bill.pending
    if payment_id not in bill.payments:
        if pending is not None and paying.method == "card" == bill.payments[pending.id].fields["method"]:
            return await _told(town_id, target, pending.id, till)
        _check_due(bill)
    amount_minor = bill.due_minor
    if payment_id in bill.payments:
        amount_minor = bill.payments[payment_id].fields["amount_minor"]
    asked = _asked(payment_id, target, paying, to_amount(amount_minor, bill.currency), bill.currency)
    effective(await till.appliers.author(town_id, server_device_id(town_id), [asked], request))
    return await _told(town_id, target, payment_id, till)


async def payments_of(reader: ListingReader, target: Target) -> list[dict[str, Any]]:
    """What was paid and asked for, oldest first: id, state, sum, and the reason of a failure."""
    return [_shown(one) for one in await _settlements(reader, target)]


def _check_due(bill: _Bill) -> None:
    if bill.due_minor <= 0:
        raise NothingDue
    if bill.pending is not None:
        raise PaymentPending
    if bill.tries >= TRIES_MAX:
        raise PaymentTriesUsed


def _asked(payment_id: str, target: Target, paying: Paying, amount: str, currency: str) -> Operation:
    entity, row_id = target
    said = {"id": payment_id, entity: row_id, "amount": amount, "currency": currency}
    if paying.method == "card":
        return RequestCardPayment.model_validate(said)
    return RequestPayment.model_validate({**said, "payer": paying.payer})


async def _told(town_id: str, target: Target, payment_id: str, till: OnlineTill) -> dict[str, Any]:
    """What became of it; of a card that is not paid yet the page as well, which is opened by being asked for."""
    async with till.listings.reading((town_id,), town_id) as reader:
        bill = await _bill(reader, target)
    shown = next(_shown(one) for one in bill.settlements if one.id == payment_id)
    payment = bill.payments[payment_id].fields
    if payment["method"] != "card" or shown["state"] != "pending":
        return shown
    assert till.card is not None  # it was asked for just now
    page = await till.card.open(wanted_by_card(town_id, payment_id, payment, till.return_url))
    return {**shown, "page": page}


async def _bill(reader: ListingReader, target: Target) -> _Bill:
    row = await reader.row(*target)
    if row is None:
        raise NotFound
    fields = row.fields
    if target[0] == "order":
        is_over, due_minor = fields["status"] in _OVER, fields["total_minor"] - fields["paid_minor"]
    else:
        is_over, due_minor = fields["state"] in _OVER, fields["remaining_minor"]
    settlements = await _settlements(reader, target)
    payments = await reader.rows("payment", [one.id for one in settlements])
    return _Bill(
        due_minor=0 if is_over else due_minor,
        currency=fields["currency"],
        settlements=settlements,
        payments=dict(payments),
    )


def _shown(settlement: Row) -> dict[str, Any]:
    fields = settlement.fields
    return {
        "payment": settlement.id,
        "state": fields["status"].lower(),
        "amount": to_amount(fields["amount_minor"], fields["currency"]),
        "currency": fields["currency"],
        "reason": fields["reason"],
    }


async def _settlements(reader: ListingReader, target: Target) -> list[Row]:
    wanted = Wanted(
        entity="settlement",
        where=[Where(field=f"{target[0]}_id", how="is", value=target[1])],
        order="changed_at",
        rows_max=10 * TRIES_MAX,
    )
    rows = await reader.page(wanted)
    return sorted(rows, key=lambda row: (row.fields["changed_at"], row.version))  # two may be of one moment
