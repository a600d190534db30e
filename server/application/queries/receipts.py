"""Is this receipt good, and what has become of it? First by its own signatures, then by the books of its town."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from server.application.receipt_ports import BookedPayment, Found, Given, Line, ReceiptBook
from sync.engine.chain import encode_bytes
from sync.engine.receipts import Receipt, ReceiptAltered, ReceiptReused, verify_receipt
from sync.kernel.money import to_amount

_GONE = frozenset({"VOIDED", "REVERSED"})


async def receipt_page(book: ReceiptBook, code: str, keys: Iterable[str]) -> dict[str, Any]:
    """What the receipt says, and its `state`.

    `waiting`: its device has not reported it yet, or a person must look at the report. `doubtful`: neither, and the
    device is out of use, so that somebody else may have made it. `void`: it was refused later, or voided; `reason` says
    why. `paid`, `partly_refunded`, `refunded`: what became of its payments. Raises what `verify_receipt` raises,
    `ReceiptReused` when the town knows the number or the place from another act, and `ReceiptAltered` when it says
    another amount than that act.
    """
    receipt = verify_receipt(code, keys)
    found = await book.find(receipt.town_id, receipt.device_id, number=receipt.number, seq=receipt.seq)
    given = _matching(receipt, found)
    _check_sums(receipt, given.line if given else found.line)
    state, reason = _state(receipt, found, given)
    return {
        "number": receipt.label,
        "state": state,
        "reason": reason,
        "amounts": [{"amount": to_amount(minor, currency), "currency": currency} for currency, minor in receipt.sums],
        "at": receipt.at,
        "town": {"id": receipt.town_id, "name": found.town_name, "time_zone": found.time_zone},
        "device": receipt.device_id,
        "seq": receipt.seq,
        "hash": receipt.hash,
        "payments": [_told(payment) for payment in given.payments] if given else [],
    }


def _matching(receipt: Receipt, found: Found) -> Given | None:
    """What its number was given for, when that was this act and no other; raises `ReceiptReused`."""
    is_reused = f"the number {receipt.label} was given out for another act as well"
    for given in found.given:
        if given.seq == receipt.seq and _is_of(receipt, given.line):
            if len(found.given) > 1:
                raise ReceiptReused(is_reused)
            return given
    if found.given:
        raise ReceiptReused(is_reused)
    return None


def _check_sums(receipt: Receipt, line: Line | None) -> None:
    """The device signs the code by itself: only its line in the chain says what was taken."""
    if line and line.sums is not None and _is_of(receipt, line) and dict(receipt.sums) != dict(line.sums):
        raise ReceiptAltered(f"the amount on {receipt.label} is not the one that its device has reported")


def _state(receipt: Receipt, found: Found, given: Given | None) -> tuple[str, str]:
    if given is None:
        if found.line is None:
            if found.device_status != "active":
                return "doubtful", "Its device is out of use, and has not reported it."
            return "waiting", "The device has not reported it yet."
        if not _is_of(receipt, found.line):
            raise ReceiptReused(f"the place of {receipt.label} in its device's chain was used for another act")
        if found.line.status == "refused":
            return "void", found.line.reason
        return "waiting", "A person has to look at what the device reported."
    return _of_payments(given.payments)


def _of_payments(payments: Sequence[BookedPayment]) -> tuple[str, str]:
    if payments and all(payment.status in _GONE for payment in payments):
        return "void", "The payment was voided."
    refunded = sum(payment.refunded_minor for payment in payments)
    if refunded and all(payment.refunded_minor >= payment.amount_minor for payment in payments):
        return "refunded", "It was paid back."
    if refunded:
        return "partly_refunded", "A part of it was paid back."
    return "paid", ""


def _is_of(receipt: Receipt, line: Line) -> bool:
    """Whether this is the line on the receipt, or the one that stands for it."""
    return receipt.hash in {encode_bytes(line.digest), line.replaces}


def _told(payment: BookedPayment) -> dict[str, Any]:
    return {
        "amount": to_amount(payment.amount_minor, payment.currency),
        "currency": payment.currency,
        "status": payment.status,
        "refunded": to_amount(payment.refunded_minor, payment.currency),
    }
