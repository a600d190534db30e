"""Checking a receipt anywhere: no replica, no network, only the installation's public key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from client_sdk.application.receipts import PrintedReceipt
from sync.engine import receipts
from sync.engine.receipt_bytes import ReceiptUnreadable
from sync.engine.receipts import (
    Receipt,
    ReceiptAltered,
    ReceiptForeign,
    ReceiptForged,
    ReceiptKeyUnknown,
    ReceiptReused,
)


def verify_receipt(
    code: str,
    keys: str | Iterable[str] | Mapping[str, str],
    *,
    town: str | None = None,
    known: Iterable[Receipt] = (),
) -> Receipt:
    """What a receipt says, when it is good. It says nothing of what came later: a refund is known to the server alone.

    `code` is what the QR code holds, or the code in it. `keys` are the installation's public keys in base64url: one,
    several, or by key id as `GET /v1/keys` and `tallystick key list` tell them. With `town` a receipt of another town
    is refused. `known` are receipts that were good before: a number that its device has given to another act is seen
    by them. Raises `ReceiptUnreadable`, `ReceiptKeyUnknown`, `ReceiptForged`, `ReceiptAltered`, `ReceiptForeign`,
    `ReceiptReused`.
    """
    given = [keys] if isinstance(keys, str) else keys.values() if isinstance(keys, Mapping) else keys
    receipt = receipts.verify_receipt(code, given, town)
    receipts.check_numbers([*known, receipt])
    return receipt


__all__ = [
    "PrintedReceipt",
    "Receipt",
    "ReceiptAltered",
    "ReceiptForeign",
    "ReceiptForged",
    "ReceiptKeyUnknown",
    "ReceiptReused",
    "ReceiptUnreadable",
    "verify_receipt",
]
