"""Who wins over money, case by case. Source: the decision tables of the design; each one is a test by its id.

What is about an order has its case in commerce, which knows the order's number.
"""

from __future__ import annotations

from sync.kernel.module import Case

SUSPENSE = Case(
    id="payments.suspense",
    sentence="{amount} {currency} were taken for an order that is not known here yet; they are on the books, and count "
    "towards it as soon as it is.",
)
INVOICE_SUSPENSE = Case(
    id="payments.invoice_suspense",
    sentence="{amount} {currency} were taken for an invoice that is not known here yet; they are in suspense, and "
    "count towards it as soon as it is.",
)
CONFIRMED_UNKNOWN = Case(
    id="payments.confirmed_unknown",
    sentence="{amount} {currency} of mobile money came for something that is not known here; they are in suspense.",
    conflict="unknown_invoice",
    task="Find out what {amount} {currency} of mobile money were paid for, and assign them",
)
INVOICE_OVERPAID = Case(
    id="payments.invoice_overpaid",
    sentence="{excess} {currency} more than was owed for {title} were paid; they are kept as credit.",
    conflict="overpayment",
    task="{title}: refund {excess} {currency} or keep them as credit",
)
INVOICE_PAID_AFTER_CANCEL = Case(
    id="payments.invoice_paid_after_cancel",
    sentence="{title} was cancelled; the {excess} {currency} that were paid are kept as credit.",
    conflict="paid_after_cancel",
    task="{title}: refund {excess} {currency}",
)
INVOICE_PAID_BEFORE_CANCEL = Case(
    id="payments.invoice_paid_before_cancel",
    sentence="{title} was paid before it was cancelled; {amount} {currency} are kept as credit.",
    conflict="paid_before_cancel",
    task="{title}: refund {amount} {currency}",
)
INVOICE_CURRENCY = Case(
    id="payments.invoice_currency_mismatch",
    sentence="{title} is in {wanted}, the payment in {currency}; it is kept as credit in its own currency.",
    conflict="currency_mismatch",
    task="{title}: clear up the payment of {amount} {currency}",
)
INVOICE_SUM_TOO_LARGE = Case(
    id="payments.invoice_sum_too_large",
    sentence="{amount} {currency} are more than can be added to the credit of {title}; they stay in suspense.",
    conflict="sum_too_large",
    task="{title}: find out how {amount} {currency} came to be paid",
)
INVOICE_NOT_CANCELLABLE = Case(
    id="payments.invoice_not_cancellable",
    sentence="{title} cannot be cancelled: it is already, or it is cancelled with its order.",
    is_refusal=True,
)
PARTY_BOUND = Case(
    id="payments.party_bound",
    sentence="{name} is here only because of its {source}, which makes its own invoices; register a party for others.",
    is_refusal=True,
)
POSSIBLE_DUPLICATE = Case(
    id="payments.possible_duplicate",
    sentence="{amount} {currency} look like a payment that was recorded before; they are kept apart until it is known.",
    conflict="possible_duplicate",
    task="Count the drawer or ask the card's bank: was {amount} {currency} paid twice?",
)
TRANSFER_TWICE = Case(
    id="payments.transfer_twice",
    sentence="A transfer with the bank's reference {reference} was recorded before; the {amount} {currency} are kept "
    "apart until it is known whether another one came.",
    conflict="possible_duplicate",
    task="Look at the bank's statement: did {amount} {currency} come once more under {reference}?",
)
CLAIM_PENDING = Case(
    id="payments.claim_pending",
    sentence="{amount} {currency} by mobile money are a claim until the provider confirms them; the debt stands.",
)
ASKED_ALREADY = Case(
    id="payments.asked_already",
    sentence="{amount} {currency} are being asked for by mobile money; wait for the end of that.",
    is_refusal=True,
)
UNDER_WAY = Case(
    id="payments.under_way",
    sentence="{amount} {currency} are being paid already; wait for the end of that.",
    is_refusal=True,
)
INVOICE_NOTHING_DUE = Case(
    id="payments.invoice_nothing_due", sentence="Nothing is to be paid for {title}.", is_refusal=True
)
CONFIRMED_TWICE = Case(
    id="payments.confirmed_twice",
    sentence="The provider confirms {amount} {currency} under the reference {reference}, for a payment that had ended "
    "before; it counts once.",
    conflict="confirmed_twice",
    task="Ask the provider whether {amount} {currency} with the reference {reference} came a second time",
)
LATE_CONFIRMATION = Case(
    id="payments.late_confirmation",
    sentence="{amount} {currency} came after the payment had been given up; they count.",
    conflict="late_confirmation",
    task="Tell the customer that {amount} {currency} came after all",
)
AMOUNT_MISMATCH = Case(
    id="payments.amount_mismatch",
    sentence="{asked} were asked for, and {amount} {currency} came; what came counts.",
    conflict="amount_mismatch",
    task="Find out why {amount} {currency} came instead of {asked}",
)
FAILED_AFTER_CONFIRMATION = Case(
    id="payments.failed_after_confirmation",
    sentence="The provider now says that {amount} {currency} failed, which it had confirmed; they stay confirmed.",
    conflict="failed_after_confirmation",
    task="Ask the provider what became of {amount} {currency}",
)
REVERSED = Case(
    id="payments.reversed",
    sentence="The provider has taken back {amount} {currency}; what they had paid is owed again.",
    conflict="reversed",
    task="Collect {amount} {currency} again, which the provider has taken back",
)
EXPIRED = Case(
    id="payments.expired",
    sentence="Nobody has said in time what became of {amount} {currency} by mobile money; the payment has expired.",
    conflict="expired",
    task="Finance: ask the provider what became of {amount} {currency}",
)
CARD_EXPIRED = Case(
    id="payments.card_expired",
    sentence="Nobody has said in time what became of {amount} {currency} by card; the payment has expired.",
    conflict="expired",
    task="Finance: ask the provider of cards what became of {amount} {currency}",
)
NOT_VOIDABLE = Case(
    id="payments.not_voidable",
    sentence="The {amount} {currency} are no longer in the open drawer of this device that they were put into; use a "
    "refund.",
    is_refusal=True,
)
NOTHING_IN_SUSPENSE = Case(
    id="payments.nothing_in_suspense", sentence="Nothing is in suspense here for an invoice.", is_refusal=True
)
CREDIT_UNFIT = Case(
    id="payments.credit_unfit",
    sentence="{amount} cannot be put on {title}: there are {left} of credit, and {remaining} to pay.",
    is_refusal=True,
)
REFUND_TOO_MUCH = Case(
    id="payments.refund_too_much",
    sentence="{left} {currency} of this payment can be refunded, {amount} were asked for.",
    is_refusal=True,
)
SECOND_PERSON = Case(
    id="payments.second_person",
    sentence="Who has asked for a refund cannot approve it; ask somebody else.",
    is_refusal=True,
)
REFUND_DECIDED = Case(id="payments.refund_decided", sentence="This refund is {state} already.", is_refusal=True)
REFUND_UNFOUNDED = Case(
    id="payments.refund_unfounded",
    sentence="The payment is {status} by now; nothing of it can be given back.",
    is_refusal=True,
)
OVER_REFUND = Case(
    id="payments.over_refund",
    sentence="{excess} {currency} more than was agreed were given back; they are owed again.",
    conflict="over_refund",
    task="Approve the {excess} {currency} that were given back, or collect them",
)
REFUND_CURRENCY = Case(
    id="payments.refund_currency_mismatch",
    sentence="{amount} {currency} were given back of a payment in {wanted}; they are owed in their own currency.",
    conflict="currency_mismatch",
    task="Clear up {amount} {currency} that were given back of a payment in {wanted}",
)
PAID_OUT_ALREADY = Case(
    id="payments.paid_out_already",
    sentence="What arrived at the bank under {reference} is booked already, with {amount} {currency}.",
    is_refusal=True,
)
DRAWER_IN_USE = Case(
    id="payments.drawer_in_use",
    sentence="There is a drawer in use here since {since}; count and close it first.",
    is_refusal=True,
)
DRAWER_NOT_COUNTED = Case(
    id="payments.drawer_not_counted",
    sentence="This drawer is {state}; it is closed once, after it was counted.",
    is_refusal=True,
)
DRAWER_NOT_HERE = Case(
    id="payments.drawer_not_here",
    sentence="This is the drawer of another device; it is closed there, or in the office.",
    is_refusal=True,
)
COUNTED_ELSEWHERE = Case(
    id="payments.counted_elsewhere",
    sentence="A drawer of another device was counted here; the count is kept, and changes nothing.",
    conflict="counted_elsewhere",
    task="Find out how the drawer of another device came to be counted here",
)
DRAWER_CLOSED = Case(
    id="payments.drawer_closed",
    sentence="This drawer had been closed before it was counted again; the count is kept, and changes nothing.",
)
DRAWER_DIFFERENCE = Case(
    id="payments.drawer_difference",
    sentence="The drawer was counted with a difference of {differences}.",
    conflict="drawer_difference",
    task="Find out why the drawer of {since} is off by {differences}",
)
LATE_ITEM = Case(
    id="payments.late_item",
    sentence="{amount} {currency} belong to a drawer that had been closed; its report is amended, and both are kept.",
    conflict="late_item",
    task="Look at the amended report of the drawer: {amount} {currency} came late",
)

CASES = tuple(value for value in list(globals().values()) if isinstance(value, Case))
