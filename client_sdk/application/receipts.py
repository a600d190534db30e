"""The receipt of a change set that took money: for the slip, as text and as a QR code.

A receipt is made of the line and of nothing else, so it can be printed again as long as the line is kept, letter by
letter the same. A line that was written anew gives the receipt of the line that it stands for: that one was printed.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from client_sdk.application.ports import Entry, Identity
from client_sdk.errors import NoQrCode
from sync.engine.chain import HASH_BYTES, decode_bytes
from sync.engine.leases import MONEY, taken_by
from sync.engine.receipts import CertificateUnfit, issue
from sync.kernel.changeset import ChangeSet, Operation
from sync.kernel.clock import Hlc
from sync.kernel.money import to_amount
from sync.kernel.receipts import receipt_label

QUIET_MODULES = 4
"""The white edge that readers of QR codes need (ISO/IEC 18004)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrintedReceipt:
    """A receipt as it is handed out: `number` for people, `amounts` as `("12.50 GBP",)`, `code` for `verify_receipt`.

    `url` leads to the server's page about it, and is what the QR code holds. Code and url are empty only when the
    device's certificate does not fit into a code.
    """

    number: str
    at: str
    amounts: tuple[str, ...]
    code: str
    url: str

    def qr_svg(self, module_mm: float = 0.9) -> str:
        """The QR code as an SVG image, each of its modules so many millimetres wide: 69 of them with the white edge.

        Raises `NoQrCode` when the extra `qr` is not installed.
        """
        try:
            import segno  # noqa: PLC0415  only the extra `qr` has it
        except ModuleNotFoundError:
            raise NoQrCode from None
        image = io.BytesIO()
        made = segno.make(self.url, error="l", micro=False)
        made.save(image, kind="svg", scale=module_mm, unit="mm", border=QUIET_MODULES, xmldecl=False)
        return image.getvalue().decode()


def takes_money(operations: Sequence[Operation]) -> bool:
    """Whether somebody has to be given a receipt for these."""
    return any(MONEY.get(operation.op) == "in" for operation in operations)


def printed_receipt(identity: Identity, change_set: ChangeSet, entry: Entry) -> PrintedReceipt | None:
    """The receipt of a line of this device that was recorded as `change_set`; None when it has none."""
    if change_set.receipt is None:
        return None
    sums = taken_by(
        {"op": operation.op, **operation.model_dump(include={"amount", "currency"})} for operation in change_set.ops
    )
    first = change_set.replaces
    seq, digest = (first.seq, decode_bytes(first.hash, HASH_BYTES)) if first else (entry.seq, entry.digest)
    at_ms = Hlc.parse(change_set.at).unix_ms
    try:
        code = issue(
            identity.certificate,
            identity.key,
            number=change_set.receipt,
            seq=seq,
            digest=digest,
            at_ms=at_ms,
            sums=sums,
        )
    except CertificateUnfit:
        code = ""
    return PrintedReceipt(
        number=receipt_label(identity.device_id, change_set.receipt),
        at=change_set.at.rpartition("-")[0],
        amounts=tuple(f"{to_amount(minor, currency)} {currency}" for currency, minor in sorted(sums.items())),
        code=code,
        url=f"{identity.server_url.upper()}/V1/RECEIPTS/{code}" if code else "",
    )
