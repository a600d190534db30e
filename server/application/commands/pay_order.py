"""A customer pays for an order by mobile money: the town asks the holder of a telephone for what is due now.

Nothing is paid by that: the request is a claim until the provider has confirmed it. One is under way at a time, so that
nobody who is impatient pays twice, and an order has only so many tries, so that nobody is pestered.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, StringConstraints

from server.application.commands.act import effective
from server.application.commands.apply_change_sets import Appliers
from server.application.people_ports import ListingReader, Listings, Row, Wanted, Where
from server.domain.access import NotFound
from server.domain.devices import server_device_id
from server.domain.requests import KeyedRequest
from sync.kernel.errors import TallystickError
from sync.kernel.money import to_amount
from sync.modules.billing import RequestPayment

TRIES_MAX: Final = 10
"""Payments by telephone that are asked for of one order."""

_OVER = frozenset({"CANCELLED", "RETURNED"})


class NothingDue(TallystickError):
    """Nothing is due for this order."""

    code: ClassVar[str] = "nothing_due"


class PaymentPending(TallystickError):
    """A payment for this order is under way: confirm it on the telephone, or wait for its end."""

    code: ClassVar[str] = "payment_pending"


class PaymentTriesUsed(TallystickError):
    """This order was asked for too often by telephone; pay at a counter, or on delivery."""

    code: ClassVar[str] = "payment_tries_used"


class Paying(BaseModel):
    """Who pays: the number of a telephone with its country, digits only (ITU-T E.164)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    payer: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{6,14}$")]


async def pay_order(
    town_id: str, order_id: str, paying: Paying, request: KeyedRequest, *, listings: Listings, appliers: Appliers
) -> dict[str, Any]:
    """Ask for it, or say what has become of it when the same request came before; as `payments_of` has it.

    Raises `NotFound`, `NothingDue`, `PaymentPending`, `PaymentTriesUsed`, `IdempotencyMismatch`, `RuleRefused`, and
    what `Appliers.author` raises.
    """
    payment_id = request.operation_id(town_id, 0)
    async with listings.reading((town_id,), town_id) as reader:
        order = await reader.row("order", order_id)
        if order is None:
            raise NotFound
        before = await _settlements(reader, order_id)
    due_minor = order.fields["total_minor"] - order.fields["paid_minor"]
    repeated = next((one for one in before if one.id == payment_id), None)
    if repeated is None:
        if due_minor <= 0 or order.fields["status"] in _OVER:
            raise NothingDue
        if any(one.fields["status"] == "PENDING" for one in before):
            raise PaymentPending
        if len(before) >= TRIES_MAX:
            raise PaymentTriesUsed
    else:
        payment = await _payment(listings, town_id, payment_id)
        due_minor = payment.fields["amount_minor"]
    currency = order.fields["currency"]
    asked = RequestPayment(
        id=payment_id, order=order_id, amount=to_amount(due_minor, currency), currency=currency, payer=paying.payer
    )
    effective(await appliers.author(town_id, server_device_id(town_id), [asked], request))
    async with listings.reading((town_id,), town_id) as reader:
        return next(one for one in _shown(await _settlements(reader, order_id)) if one["payment"] == payment_id)


async def payments_of(reader: ListingReader, order_id: str) -> list[dict[str, Any]]:
    """What was paid and asked for of an order, oldest first: id, state, sum, and the reason of a failure."""
    return _shown(await _settlements(reader, order_id))


def _shown(settlements: list[Row]) -> list[dict[str, Any]]:
    return [
        {
            "payment": one.id,
            "state": one.fields["status"].lower(),
            "amount": to_amount(one.fields["amount_minor"], one.fields["currency"]),
            "currency": one.fields["currency"],
            "reason": one.fields["reason"],
        }
        for one in settlements
    ]


async def _payment(listings: Listings, town_id: str, payment_id: str) -> Row:
    async with listings.reading((town_id,), town_id) as reader:
        row = await reader.row("payment", payment_id)
    assert row is not None, payment_id  # its settlement was there, and neither is ever taken away
    return row


async def _settlements(reader: ListingReader, order_id: str) -> list[Row]:
    wanted = Wanted(
        entity="settlement",
        where=[Where(field="order_id", how="is", value=order_id)],
        order="changed_at",
        rows_max=10 * TRIES_MAX,
    )
    rows = await reader.page(wanted)
    return sorted(rows, key=lambda row: (row.fields["changed_at"], row.version))  # two may be of one moment
