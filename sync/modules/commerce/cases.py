"""Who wins in commerce, case by case. Source: the decision tables of the design; each one is a test by its id."""

from __future__ import annotations

from sync.kernel.module import Case

STOCK_NEGATIVE = Case(
    id="stock.below_zero",
    sentence="The shelf of {product} now says {on_hand}: more has left than was ever booked in.",
    conflict="stock_negative",
    task="Count {product}",
)
SAME_WAREHOUSE = Case(
    id="stock.same_warehouse", sentence="The goods were moved to the warehouse they are in; nothing changes."
)
COUNT_UNCERTAIN = Case(
    id="stock.count_uncertain",
    sentence="Whether goods moved before or after {product} was counted is not known.",
    conflict="count_uncertain",
    task="Count {product} again",
)
COUNTS_DISAGREE = Case(
    id="stock.counts_disagree",
    sentence="{product} was counted twice with nothing moved between, and the figures differ; neither counts.",
    conflict="counts_disagree",
    task="Count {product} once more, without looking at the books or at the counts before",
)
COUNT_CORRECTED = Case(
    id="stock.count_corrected",
    sentence="The count of {product} corrects the books by {correction}.",
    conflict="count_corrected",
    task="Find out why the books of {product} were wrong by {correction}",
)
COUNT_SUPERSEDED = Case(
    id="stock.count_superseded", sentence="{product} was counted again after this; the later count stands."
)
INSUFFICIENT_STOCK = Case(
    id="stock.insufficient",
    sentence="Only {available} of {product} are available, {wanted} were asked for.",
    is_refusal=True,
)
QUOTA_EXCEEDED = Case(
    id="stock.quota_exceeded",
    sentence="This device may sell {left} more of {product} by itself, {wanted} were asked for; ask a supervisor.",
    is_refusal=True,
)
QUOTA_OVERRIDDEN = Case(
    id="stock.quota_overridden",
    sentence="{extra} of {product} for order {number} were sold beyond the quota of the device; {who} had allowed it.",
    conflict="quota_overridden",
    task="Order {number}: make sure that {extra} of {product} can be had",
)
QUOTA_NOT_RETURNED = Case(
    id="stock.quota_not_returned",
    sentence="{name} may still have sold the {left} of {product} that it holds; it must report first, or be revoked.",
    is_refusal=True,
)
QUOTA_NEEDS_DEVICE = Case(
    id="stock.quota_needs_device", sentence="{name} is no active device that takes orders.", is_refusal=True
)
QUOTA_CLOSED = Case(id="stock.quota_closed", sentence="This quota has been given back already.", is_refusal=True)
QUOTA_OF_OTHER = Case(id="stock.quota_of_other", sentence="This quota is another device's.", is_refusal=True)
GOODS_MISSING = Case(
    id="stock.goods_missing",
    sentence="The goods of order {number} were not delivered on {since}, and have not come back for {days} days.",
    conflict="goods_missing",
    task="Order {number}: find out where the goods are",
)
NOTHING_DUE = Case(
    id="payments.nothing_due", sentence="Nothing is due for order {number}; nobody is asked for it.", is_refusal=True
)
GOODS_NOT_MISSING = Case(
    id="stock.goods_not_missing",
    sentence="The goods of order {number} are not missing, or not for {days} days yet, or were reported already.",
    is_refusal=True,
)
OVERSOLD = Case(
    id="stock.oversold",
    sentence="{missing} of {product} for order {number} were sold that were no longer there; the order stands.",
    conflict="oversold",
    task="Order {number}: buy {missing} of {product}, offer something else, or refund",
)
PICKED_AFTER_CANCEL = Case(
    id="stock.picked_after_cancel",
    sentence="Order {number} was cancelled before the goods were picked.",
    conflict="picked_after_cancel",
    task="Order {number}: put the goods back on the shelf",
)
PICKED_TOO_MANY = Case(
    id="stock.picked_too_many",
    sentence="{picked} of {product} were picked for order {number}, which asks for {wanted}.",
    conflict="picked_too_many",
    task="Order {number}: put the extra {product} back on the shelf",
)
SHORT_PICK = Case(
    id="stock.short_pick",
    sentence="{missing} of {product} were not on the shelf; order {number} is shortened.",
    conflict="short_pick",
    task="Count {product}",
)
NOTHING_SHORT = Case(
    id="stock.nothing_short",
    sentence="Order {number} waits for no more of {product}; there is nothing to shorten.",
)
DELIVERED_AFTER_CANCEL = Case(
    id="orders.delivered_after_cancel",
    sentence="Order {number} had been cancelled before the delivery was known here. The delivery stands.",
    conflict="delivered_after_cancel",
    task="Order {number}: ask the customer, then refund or let them keep it",
)
DELIVERED_AFTER_RETURN = Case(
    id="orders.delivered_after_return",
    sentence="Order {number} had been booked back into the warehouse before the delivery was known here. "
    "The delivery stands.",
    conflict="delivered_after_return",
    task="Order {number}: find out where the goods are",
)
DELIVERED_BY_OTHER = Case(
    id="orders.delivered_by_previous_driver",
    sentence="Order {number} had been given to another driver meanwhile; the delivery stands and the other is told.",
)
DUPLICATE_DELIVERY = Case(
    id="orders.duplicate_delivery",
    sentence="Order {number} was already reported delivered; this report is kept as an attempt.",
    conflict="duplicate_delivery",
    task="Order {number}: find out who handed over what",
)
DELIVERED_UNPAID = Case(
    id="orders.delivered_unpaid",
    sentence="Order {number} was handed over, and {due} {currency} were not collected.",
    conflict="delivered_unpaid",
    task="Order {number}: collect {due} {currency}",
)
FAILED_AFTER_DELIVERY = Case(
    id="orders.failed_after_delivery",
    sentence="Order {number} is delivered; the failed attempt is kept beside it.",
    conflict="failed_after_delivery",
    task="Order {number}: find out whether the customer has the goods",
)
FAILED_ELSEWHERE = Case(
    id="orders.failed_elsewhere",
    sentence="Order {number} is with another driver or delivered by another; this failed attempt is kept beside it.",
)
DELIVERY_CORRECTED = Case(
    id="orders.delivery_corrected",
    sentence="Order {number} was not delivered after all ({reason}).",
    conflict="delivery_corrected",
    task="Order {number}: speak with the driver and the customer, and find out where goods and money are",
)
CORRECTED_TOO_OFTEN = Case(
    id="orders.corrected_too_often",
    sentence="There were {count} attempts to deliver order {number}; it stays delivered until the office corrects it.",
    conflict="corrected_too_often",
    task="Order {number}: speak with the driver and the customer, and correct the delivery if there was none",
)
NOT_DELIVERED = Case(
    id="orders.not_delivered",
    sentence="Order {number} does not stand as delivered by this dispatch; there is nothing to correct.",
    is_refusal=True,
)
NOTHING_TO_CORRECT = Case(
    id="orders.nothing_to_correct",
    sentence="Order {number} does not stand as delivered by this dispatch; there is nothing to correct.",
)
NOT_ON_TOUR = Case(
    id="orders.not_on_tour",
    sentence="{name} reported about order {number}, which is another driver's; what had already happened is kept.",
    conflict="not_on_tour",
    task="Order {number}: find out how {name} came to have it, and whether the device is in the right hands",
)
NEVER_ARRIVED = Case(
    id="orders.never_arrived",
    sentence="{count} reports wait for {hours} hours for an {entity} that has not come.",
    conflict="unknown_order",
    task="Find the device that has not reported, or what these reports are about",
)
NOTHING_WAITS = Case(
    id="orders.nothing_waits", sentence="Nothing waits here that could be said of an order.", is_refusal=True
)
STATES_SKIPPED = Case(
    id="orders.states_skipped",
    sentence="Order {number} is {status}; steps that were not reported are filled in: {steps}.",
)
CANCELLED_WHILE_PICKING = Case(
    id="orders.cancelled_while_picking",
    sentence="Order {number} is cancelled; its goods are already off the shelf.",
    conflict="cancelled_while_picking",
    task="Order {number}: put the goods back on the shelf",
)
RECALL_REQUESTED = Case(
    id="orders.recall_requested",
    sentence="Order {number} is on the van; the driver is asked to bring it back.",
)
ALREADY_CANCELLED = Case(id="orders.already_cancelled", sentence="Order {number} is cancelled.", is_refusal=True)
ALREADY_DELIVERED = Case(id="orders.already_delivered", sentence="Order {number} is delivered.", is_refusal=True)
ALREADY_RETURNED = Case(
    id="orders.already_returned", sentence="Order {number} came back to the warehouse and is closed.", is_refusal=True
)
ALREADY_PICKED = Case(
    id="orders.already_picked", sentence="Picking of order {number} has begun; it cannot be changed.", is_refusal=True
)
NOT_UNPAID = Case(
    id="orders.not_unpaid", sentence="Something was paid for order {number}; it is not given up.", is_refusal=True
)
ALREADY_ASSIGNED = Case(
    id="orders.already_assigned", sentence="Order {number} already has a driver; reassign it instead.", is_refusal=True
)
NOT_CLOSED = Case(
    id="orders.not_closed", sentence="Order {number} is not closed; it stays on the devices.", is_refusal=True
)
NOT_ASSIGNED = Case(id="orders.not_assigned", sentence="Order {number} has no driver.", is_refusal=True)
NOT_A_DRIVER = Case(id="orders.not_a_driver", sentence="{name} is no driver of this town.", is_refusal=True)
STARTED_AFTER_WITHDRAWAL = Case(
    id="orders.started_after_withdrawal",
    sentence="Order {number} left with the van after it had been taken off the tour.",
    conflict="started_after_withdrawal",
    task="Order {number}: tell the driver to deliver or to bring it back",
)
RETURNED_AFTER_DELIVERY = Case(
    id="orders.returned_after_delivery",
    sentence="The goods of order {number} came back, though it is delivered.",
    conflict="returned_after_delivery",
    task="Order {number}: book the return with the customer",
)
PRICED_BY_LIST = Case(
    id="orders.priced_by_list",
    sentence="Order {number} came without a price in {lines} of its lines; the price list of now counts.",
    conflict="price_unsaid",
    task="Order {number}: make sure that the customer was told {total} {currency}",
)
PRICE_HONOURED = Case(
    id="payments.price_honoured",
    sentence="Prices of order {number} have changed since the customer was told; what was told stands, and "
    "{difference} {currency} are booked as the difference.",
)
PRICE_DIFFERENCE = Case(
    id="payments.price_difference",
    sentence="Prices of order {number} had changed by {difference} {currency} when the customer was told others; what "
    "was told stands.",
    conflict="price_difference",
    task="Order {number}: find out why {difference} {currency} less than the list was asked for",
)
PRICE_UNLISTED = Case(
    id="payments.price_unlisted",
    sentence="Order {number} has prices that are not those of the list, which the device knew: they differ by "
    "{difference} {currency}; what was told stands.",
)
PRICE_MADE_UP = Case(
    id="payments.price_made_up",
    sentence="Order {number} has prices that are not those of the list, which the device knew: they differ by "
    "{difference} {currency}, which is more than nobody asks about; what was told stands.",
    conflict="price_made_up",
    task="Order {number}: ask who took it why its prices differ from the list by {difference} {currency}",
)
OVERPAYMENT = Case(
    id="payments.overpayment",
    sentence="{excess} {currency} more than order {number} owes were taken; they are kept as credit.",
    conflict="overpayment",
    task="Order {number}: refund {excess} {currency} or keep them as credit",
)
PAID_BEFORE_MOMO = Case(
    id="payments.paid_before_momo",
    sentence="Order {number} had been paid before its mobile money came; {excess} {currency} are kept as credit.",
    conflict="overpayment",
    task="Order {number}: refund {excess} {currency} by mobile money",
)
PAYMENT_FAILED_AFTER_DELIVERY = Case(
    id="payments.delivered_unpaid",
    sentence="Order {number} was handed over, and its mobile money has not come: {due} {currency} are owed.",
    conflict="delivered_unpaid",
    task="Order {number}: collect {due} {currency}",
)
PAID_AFTER_CANCEL = Case(
    id="payments.paid_after_cancel",
    sentence="Order {number} was cancelled; the {amount} {currency} that were taken are kept as credit.",
    conflict="paid_after_cancel",
    task="Order {number}: refund {amount} {currency}",
)
PAID_BEFORE_CANCEL = Case(
    id="payments.paid_before_cancel",
    sentence="Order {number} was paid before it was cancelled; {amount} {currency} are kept as credit.",
    conflict="paid_before_cancel",
    task="Order {number}: refund {amount} {currency}",
)
CURRENCY_MISMATCH = Case(
    id="payments.currency_mismatch",
    sentence="Order {number} is in {wanted}, the payment in {currency}; it is kept beside the order.",
    conflict="currency_mismatch",
    task="Order {number}: clear up the payment in {currency}",
)
UNKNOWN_INVOICE = Case(
    id="payments.unknown_invoice",
    sentence="{money} were taken for an {entity} that has not come for {hours} hours; they are in suspense.",
    conflict="unknown_invoice",
    task="Find out what {money} were paid for, and assign them",
)
SUM_TOO_LARGE = Case(
    id="payments.sum_too_large",
    sentence="More was taken for order {number} than can be added up; {amount} {currency} are kept beside it.",
    conflict="sum_too_large",
    task="Order {number}: find out what these payments are",
)

CASES = tuple(value for value in list(globals().values()) if isinstance(value, Case))
