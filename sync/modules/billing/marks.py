"""What may be one payment recorded twice: a double tap, or a provider's reference that another payment has already.

Where the truth is, the last payment of each kind leaves a mark under its natural key. The second is recorded like any
other, and parked: a person says what it is.
"""

from __future__ import annotations

from sync.kernel.cases import ID_TAKEN
from sync.kernel.changeset import Fields, Operation
from sync.kernel.clock import parse_time
from sync.kernel.draft import Draft
from sync.kernel.money import to_amount
from sync.modules.billing import cases
from sync.modules.billing.entities import mark_id
from sync.modules.billing.operations import TakePayment

DOUBLE_TAP_MS = 60_000
"""Two payments that look alike, closer together than this, may be one."""

REFERRED = frozenset({"card", "bank"})
"""Methods by which a payment at a counter has a reference, which tells it from every other one."""

RETURNED = "refund"
"""The kind of the references under which the provider has given money back."""

VERSION_AT, DERIVED = 14, "8"
"""Where a UUID says how it was made, and what it says there when it was derived."""


def look_for_double(operation: TakePayment, draft: Draft) -> None:
    """The same taken twice in a minute by the same person on the same device, or one reference recorded twice."""
    if not draft.context.is_truth:
        return
    if operation.method in REFERRED and operation.reference:
        other = claim_reference(draft, operation.method, operation.reference, operation.id)
        if other:
            park(draft, operation, operation.id, other)
        return  # another reference is another payment, however much it looks like one
    said = draft.change_set
    key = mark_id("tap", said.device, operation.order or operation.invoice or "", operation.amount, operation.currency)
    before = draft.get("payment_mark", key)
    draft.put("payment_mark", key, _mark(draft, operation.id))
    if before is None or before["actor_id"] != said.actor or before["seq"] == said.seq:
        return
    if abs(parse_time(draft.claimed_at) - parse_time(before["at"])) >= DOUBLE_TAP_MS:
        return
    settlement = draft.get("settlement", before["payment_id"])
    if settlement is None or settlement["status"] != "VOIDED":  # what was voided is taken again on purpose
        park(draft, operation, operation.id, before["payment_id"])


def claim_reference(draft: Draft, kind: str, reference: str, payment: str) -> str | None:
    """The other payment that has this reference; without one it is this payment's from now on."""
    key = mark_id("reference", kind, reference)
    before = draft.get("payment_mark", key)
    if before is None:
        draft.put("payment_mark", key, _mark(draft, payment))
        return None
    other: str = before["payment_id"]
    return other if other != payment else None


def last_asked(draft: Draft, order: str, payment: str) -> str | None:
    """The payment that was asked for before of this order; from now on it is this one."""
    key = mark_id("asked", order)
    before = draft.get("payment_mark", key)
    draft.put("payment_mark", key, _mark(draft, payment))
    other: str | None = before["payment_id"] if before else None
    return other if other != payment else None


def park(draft: Draft, operation: Operation, payment: str, other: str) -> None:
    """Keep a payment apart, until a person says whether it is the `other` once more."""
    settlement = draft.update("settlement", payment, is_parked=True)
    is_transfer = isinstance(operation, TakePayment) and operation.method == "bank"
    amount = to_amount(settlement["amount_minor"], settlement["currency"])
    draft.adjust(
        cases.TRANSFER_TWICE if is_transfer else cases.POSSIBLE_DUPLICATE,
        operation,
        subject=("payment", payment),
        said={"amount": amount, "currency": settlement["currency"], "reference": settlement["reference"]},
        had={"payment": other},
        outcome="parked as credit",
        amount=amount,
        currency=settlement["currency"],
        **({"reference": settlement["reference"]} if is_transfer else {}),
    )


def refuse_derived(operation: Operation, draft: Draft, entity: str) -> None:
    """Ids that are derived are for rows that the town makes by itself: nobody takes one in advance."""
    if not draft.context.is_server and operation.id[VERSION_AT] == DERIVED:
        raise draft.refuse(ID_TAKEN, entity=entity)


def _mark(draft: Draft, payment: str) -> Fields:
    said = draft.change_set
    return {"payment_id": payment, "actor_id": said.actor, "at": draft.claimed_at, "seq": said.seq}
