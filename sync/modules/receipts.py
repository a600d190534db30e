"""Receipts (workflow): which number of which device was given for which payments. What a code says is in the engine.

A device counts its receipts and says the number with the change set (`ChangeSet.receipt`). Here it is kept under device
and number, so that a number that was given twice is seen by whoever comes second.
"""

from __future__ import annotations

from sync.kernel.draft import Draft
from sync.kernel.ids import derived_id
from sync.kernel.module import Case, Entity, FieldKind, Module, ModuleKind
from sync.kernel.receipts import receipt_label
from sync.modules.billing import TakePayment

RECEIPT = Entity(
    name="receipt",
    plural="receipts",
    fields={
        "device_id": FieldKind.ID,
        "number": FieldKind.INTEGER,
        "seq": FieldKind.INTEGER,
        "line_seq": FieldKind.INTEGER,
        "payment_ids": FieldKind.JSON,
        "given_at": FieldKind.TIME,
    },
    bucket_kinds=frozenset({"device"}),
    buckets=lambda row: (f"device:{row['device_id']}",),
    is_append_only=True,
)
"""`seq` is the place in the device's chain that is on the receipt, `line_seq` that of the line which took effect."""

NUMBER_REUSED = Case(
    id="receipts.number_reused",
    sentence="The number of receipt {label} was given before, at place {before} of the device's chain: there are two "
    "of this device, or it was tampered with. The payment is kept, the device was suspended.",
    conflict="receipt_number_reused",
    task="Find out which device gave receipt {label} twice",
)


def receipt_id(device_id: str, number: int) -> str:
    """The receipt of this number; there is one, unless the number was given twice."""
    return derived_id("receipt", device_id, number)


def keep_receipt(operation: TakePayment, draft: Draft) -> None:
    """The number and what it was given for; does nothing for a change set that has none, or kept it already."""
    change_set = draft.change_set
    number, first = change_set.receipt, change_set.replaces
    if number is None:
        return
    seq = first.seq if first and first.device == change_set.device else change_set.seq
    key = receipt_id(change_set.device, number)
    there = draft.get("receipt", key)
    if there is not None and there["seq"] != seq:
        key = derived_id("receipt", change_set.device, number, seq)
        if draft.get("receipt", key) is None:
            _tell(operation, draft, key, number, there["seq"])
    elif there is not None:
        return
    row = {
        "device_id": change_set.device,
        "number": number,
        "seq": seq,
        "line_seq": change_set.seq,
        "payment_ids": [one.id for one in change_set.ops if isinstance(one, TakePayment)],
        "given_at": draft.claimed_at,
    }
    if draft.get("receipt", key) is None:
        draft.put("receipt", key, row)


def _tell(operation: TakePayment, draft: Draft, key: str, number: int, before: int) -> None:
    device_id = draft.change_set.device
    label = receipt_label(device_id, number)
    said, had = {"number": number, "seq": draft.change_set.seq}, {"seq": before}
    draft.adjust(
        NUMBER_REUSED,
        operation,
        subject=("receipt", key),
        said=said,
        had=had,
        outcome="both kept",
        label=label,
        before=before,
    )
    device = draft.get("device", device_id)
    if draft.context.is_truth and device is not None and device["status"] == "active" and not _is_released(draft):
        reason = f"the number of receipt {label} was given twice"
        draft.update("device", device_id, status="suspended", reason=reason, ended_at=draft.context.decided_at)


def _is_released(draft: Draft) -> bool:
    """Whether an admin knows already: only what a released device wrote anew has a number of before the release."""
    is_anew = draft.change_set.replaces is not None
    return is_anew and draft.get("device_release", draft.change_set.device) is not None


MODULE = Module(
    name="receipts",
    kind=ModuleKind.WORKFLOW,
    needs=frozenset({"identity", "billing"}),
    entities=(RECEIPT,),
    rules={TakePayment: keep_receipt},
    cases=(NUMBER_REUSED,),
)
