"""Cards online: a customer is sent to the provider's page, and what the provider says of it then is money or is not.

What is confirmed, fails, expires or is taken back goes the way of mobile money (`sync.modules.billing.momo`).
"""

from __future__ import annotations

from sync.kernel.draft import Draft
from sync.kernel.money import to_amount
from sync.modules.billing import cases
from sync.modules.billing.marks import last_asked
from sync.modules.billing.operations import RequestCardPayment
from sync.modules.billing.settlements import begin, checked_amount, payment_row


def request(operation: RequestCardPayment, draft: Draft) -> None:
    """Nothing is posted before the provider's word. A worker asks what became of it."""
    amount_minor = checked_amount(operation, draft)
    target = operation.order or str(operation.invoice)
    other = last_asked(draft, target, operation.id)
    before = draft.get("settlement", other) if other else None
    if before is not None and before["status"] == "PENDING":
        asked = to_amount(before["amount_minor"], before["currency"])
        raise draft.refuse(cases.UNDER_WAY, amount=asked, currency=before["currency"])
    if operation.invoice:
        invoice = draft.need("invoice", operation.invoice)
        if invoice["remaining_minor"] <= 0:
            raise draft.refuse(cases.INVOICE_NOTHING_DUE, title=invoice["title"])
    else:
        draft.need("order", target)
    draft.create("payment", operation.id, payment_row(operation, draft, amount_minor, "PENDING", None))
    begin(draft, operation, "PENDING", amount_minor, in_suspense=0)
    draft.effect("card.request", payment=operation.id)
