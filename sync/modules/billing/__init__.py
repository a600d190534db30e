"""Billing (workflow): who owes what, what was paid, where the money lies, and books that always balance.

Other modules say what their payments were for: they add a rule to each operation of `MOVING`, which takes what is on
its way of a payment (`settlement.suspense_minor`) to where it belongs.
"""

from __future__ import annotations

from sync.kernel.changeset import Operation
from sync.kernel.module import Module, ModuleKind
from sync.modules.billing import card, drawers, invoices, momo, pay_outs, payments, refunds
from sync.modules.billing.cases import CASES
from sync.modules.billing.entities import ENTITIES
from sync.modules.billing.ledger import check_balanced
from sync.modules.billing.operations import (
    ApplyCredit,
    ApproveRefund,
    AssignPayments,
    CancelInvoice,
    CloseDrawer,
    ConfirmPayment,
    CountDrawer,
    ExpirePayment,
    FailPayment,
    InvoiceLine,
    IssueInvoice,
    Money,
    OpenDrawer,
    PayOut,
    PayRefund,
    RegisterParty,
    RejectRefund,
    RequestCardPayment,
    RequestPayment,
    RequestRefund,
    ReversePayment,
    TakePayment,
    VoidPayment,
)

MOVING: tuple[type[Operation], ...] = (
    TakePayment,
    ConfirmPayment,
    ReversePayment,
    VoidPayment,
    AssignPayments,
    RequestRefund,
    ApproveRefund,
    PayRefund,
)
"""Operations after which money of a payment is on its way: to what it was for, or back from there."""

MODULE = Module(
    name="billing",
    kind=ModuleKind.WORKFLOW,
    needs=frozenset({"identity"}),
    entities=ENTITIES,
    operations=(
        RegisterParty,
        IssueInvoice,
        CancelInvoice,
        TakePayment,
        RequestPayment,
        RequestCardPayment,
        ConfirmPayment,
        FailPayment,
        ExpirePayment,
        ReversePayment,
        VoidPayment,
        AssignPayments,
        RequestRefund,
        ApproveRefund,
        RejectRefund,
        PayRefund,
        ApplyCredit,
        OpenDrawer,
        CountDrawer,
        CloseDrawer,
        PayOut,
    ),
    rules={
        RegisterParty: (invoices.register_party,),
        IssueInvoice: (invoices.issue,),
        CancelInvoice: (invoices.cancel,),
        TakePayment: (payments.take, payments.place),
        RequestPayment: (momo.request,),
        RequestCardPayment: (card.request,),
        ConfirmPayment: (momo.confirm, payments.place),
        FailPayment: (momo.fail,),
        ExpirePayment: (momo.expire,),
        ReversePayment: (momo.reverse, payments.place),
        VoidPayment: (payments.void, payments.place),
        AssignPayments: (payments.assign, payments.place),
        RequestRefund: (refunds.request, payments.place),
        ApproveRefund: (refunds.approve, payments.place),
        RejectRefund: (refunds.reject,),
        PayRefund: (refunds.pay, payments.place),
        ApplyCredit: (invoices.apply_credit,),
        OpenDrawer: (drawers.open_drawer,),
        CountDrawer: (drawers.count,),
        CloseDrawer: (drawers.close,),
        PayOut: (pay_outs.book,),
    },
    cases=CASES,
    laws=(check_balanced,),
)

__all__ = [
    "MODULE",
    "MOVING",
    "ApplyCredit",
    "ApproveRefund",
    "AssignPayments",
    "CancelInvoice",
    "CloseDrawer",
    "ConfirmPayment",
    "CountDrawer",
    "ExpirePayment",
    "FailPayment",
    "InvoiceLine",
    "IssueInvoice",
    "Money",
    "OpenDrawer",
    "PayOut",
    "PayRefund",
    "RegisterParty",
    "RejectRefund",
    "RequestCardPayment",
    "RequestPayment",
    "RequestRefund",
    "ReversePayment",
    "TakePayment",
    "VoidPayment",
]
