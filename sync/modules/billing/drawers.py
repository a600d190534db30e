"""Drawers: cash lies in a drawer session, from its float to its count and its Z report.

A device has one session at a time; in the office each person has. Cash that comes while none is open begins one by
itself, marked implied. What comes for a session that is closed amends its report, and both are kept.

Law: the balance of a drawer's account is what is expected in it, until it is closed: then nothing is left there, the
counted cash is in the bank and the difference is in over/short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sync.kernel.changeset import Fields
from sync.kernel.draft import Draft
from sync.kernel.errors import InvalidMoney
from sync.kernel.ids import derived_id
from sync.kernel.money import to_amount, to_minor
from sync.modules.billing import cases
from sync.modules.billing.entities import report_id, till_id
from sync.modules.billing.ledger import BANK, OVER_SHORT, drawer_account, post
from sync.modules.billing.marks import refuse_derived
from sync.modules.billing.operations import (
    COUNTERS,
    CloseDrawer,
    CountDrawer,
    Money,
    OpenDrawer,
    PayRefund,
    TakePayment,
)
from sync.modules.billing.settlements import units_max

DRAWER_PAYMENTS_MAX = 1000
"""How many of the largest payments that a town thinks possible a drawer may hold."""

Sums = Mapping[str, int]
"""Minor units by currency."""


def open_drawer(operation: OpenDrawer, draft: Draft) -> None:
    """The float comes out of the bank."""
    refuse_derived(operation, draft, "drawer_session")
    session = _session(draft, _holder(draft))
    if session is not None and session["state"] != "CLOSED":
        raise draft.refuse(cases.DRAWER_IN_USE, since=session["opened_at"])
    opening = _sums(draft, operation.opening)
    draft.create("drawer_session", operation.id, {})
    _begin(draft, operation.id, opening, is_implied=False)
    for currency, minor in opening.items():
        post(draft, drawer_account(operation.id), minor, currency, drawer_id=operation.id)
        post(draft, BANK, -minor, currency, drawer_id=operation.id)


def count(operation: CountDrawer, draft: Draft) -> None:
    """What was seen; a later count takes the place of an earlier one, until the drawer is closed."""
    session = draft.need("drawer_session", operation.drawer)
    counted = _sums(draft, operation.counted)
    if not _is_here(draft, session):
        _tell_elsewhere(operation, draft, session)
        return
    if session["state"] == "CLOSED":
        draft.adjust(cases.DRAWER_CLOSED, operation, subject=("drawer_session", operation.drawer))
        return
    now = {"counted": counted, "counted_at": draft.claimed_at, "state": "COUNTED"}
    draft.update("drawer_session", operation.drawer, **now)


def close(operation: CloseDrawer, draft: Draft) -> None:
    """The Z report: what was counted goes to the bank, the difference to over/short."""
    session = draft.need("drawer_session", operation.drawer)
    if not _is_here(draft, session):
        raise draft.refuse(cases.DRAWER_NOT_HERE)
    if session["state"] != "COUNTED":
        raise draft.refuse(cases.DRAWER_NOT_COUNTED, state=session["state"].lower())
    expected, counted = session["expected"] or {}, session["counted"]
    differences = None if session["expected"] is None else _difference(counted, expected)
    now = {"differences": differences, "state": "CLOSED", "closed_at": draft.claimed_at}
    by = {"closed_by": draft.change_set.device, "closed_version": draft.context.version}
    draft.update("drawer_session", operation.drawer, **now, **by)
    for currency in sorted({*expected, *counted}):
        _hand_in(draft, operation.drawer, currency, counted.get(currency, 0), expected.get(currency, 0))
    _report(draft, operation.drawer, None)
    if differences and draft.context.is_truth:
        draft.adjust(
            cases.DRAWER_DIFFERENCE,
            operation,
            subject=("drawer_session", operation.drawer),
            said={"counted": counted},
            had={"expected": expected},
            outcome="over/short",
            differences=_told(differences),
            since=session["opened_at"],
        )


def put_in(draft: Draft, operation: TakePayment | PayRefund, minor: int) -> str:
    """So much cash goes into the drawer in use, or below zero comes out of it; returns its session."""
    holder, currency = _holder(draft), operation.currency
    till = draft.get("till", till_id(holder))
    session = _session(draft, holder)
    if till is None or session is None or (session["state"] == "CLOSED" and not _is_late(draft, session)):
        key = derived_id("drawer_session", draft.change_set.device, draft.change_set.seq)
        _begin(draft, key, {}, is_implied=True)
    else:
        key = till["session_id"]
    session = draft.need("drawer_session", key)
    if session["state"] == "CLOSED":
        _amend(draft, operation, key, minor)
        return key
    take_out(draft, key, currency, -minor)
    if session["state"] == "COUNTED":  # what was counted is not what is in it any more
        draft.update("drawer_session", key, state="OPEN", counted=None)
    return key


def take_out(draft: Draft, drawer: str, currency: str, minor: int) -> None:
    """So much less is expected in the drawer; a device is not told how much is."""
    expected = draft.need("drawer_session", drawer)["expected"]
    if expected is not None:
        after = {**expected, currency: expected.get(currency, 0) - minor}
        draft.update("drawer_session", drawer, expected=dict(sorted(after.items())))


def _amend(draft: Draft, operation: TakePayment | PayRefund, drawer: str, minor: int) -> None:
    """Cash of a closed session: what was counted had it in, so the difference is another by as much."""
    currency = operation.currency
    take_out(draft, drawer, currency, -minor)
    session = draft.need("drawer_session", drawer)
    differences = _difference(session["counted"], session["expected"] or {})
    draft.update("drawer_session", drawer, differences=differences)
    post(draft, OVER_SHORT, minor, currency, drawer_id=drawer)
    post(draft, drawer_account(drawer), -minor, currency, payment_id=_subject(operation), drawer_id=drawer)
    _report(draft, drawer, _subject(operation))
    if not draft.context.is_truth:
        return
    draft.adjust(
        cases.LATE_ITEM,
        operation,
        subject=("drawer_session", drawer),
        said={"amount": operation.amount, "currency": currency, "at": draft.claimed_at},
        had={"closed_at": session["closed_at"]},
        outcome=f"difference {_told(differences) or 'none'}",
        amount=operation.amount,
        currency=currency,
    )


def _subject(operation: TakePayment | PayRefund) -> str:
    return operation.payment if isinstance(operation, PayRefund) else operation.id


def _holder(draft: Draft) -> str:
    """Whose drawer it is: the device's, and in the office the person's."""
    return draft.change_set.actor if draft.context.is_server else draft.change_set.device


def is_own(draft: Draft, session: Fields) -> bool:
    """Whether whoever speaks has this drawer before them: the device, and in the office the person."""
    is_here: bool = session["device_id"] == draft.change_set.device
    return is_here and (not draft.context.is_server or session["holder_id"] == draft.change_set.actor)


def _is_here(draft: Draft, session: Fields) -> bool:
    """Who keeps the counters may look into every drawer in the office, everybody else into their own."""
    said = draft.change_set
    if is_own(draft, session) or (draft.context.is_server and said.actor == said.device):
        return True
    user = draft.get("user", said.actor) if draft.context.is_server else None
    return user is not None and not COUNTERS.isdisjoint(user["roles"])


def _tell_elsewhere(operation: CountDrawer, draft: Draft, session: Fields) -> None:
    draft.adjust(
        cases.COUNTED_ELSEWHERE,
        operation,
        subject=("drawer_session", operation.drawer),
        said={"counted": _sums(draft, operation.counted)},
        had={"device_id": session["device_id"], "state": session["state"]},
        outcome="kept, without effect",
    )


def _session(draft: Draft, holder: str) -> Fields | None:
    till = draft.get("till", till_id(holder))
    return draft.get("drawer_session", till["session_id"]) if till else None


def _is_late(draft: Draft, session: Fields) -> bool:
    """Whether the device did not know yet that another had closed its session."""
    is_by_other: bool = session["closed_by"] != draft.change_set.device
    return is_by_other and draft.change_set.base < session["closed_version"]


def _begin(draft: Draft, key: str, opening: Sums, *, is_implied: bool) -> None:
    row = {
        "device_id": draft.change_set.device,
        "holder_id": draft.change_set.actor,
        "is_implied": is_implied,
        "opening": opening,
        "expected": opening,
        "counted": None,
        "differences": None,
        "reports": 0,
        "state": "OPEN",
        "opened_at": draft.claimed_at,
        "counted_at": None,
        "closed_at": None,
        "closed_by": None,
        "closed_version": None,
    }
    draft.put("drawer_session", key, row)
    till = {"device_id": draft.change_set.device, "holder_id": draft.change_set.actor, "session_id": key}
    draft.put("till", till_id(_holder(draft)), till)


def _hand_in(draft: Draft, drawer: str, currency: str, counted: int, expected: int) -> None:
    post(draft, BANK, counted, currency, drawer_id=drawer)
    post(draft, OVER_SHORT, expected - counted, currency, drawer_id=drawer)
    post(draft, drawer_account(drawer), -expected, currency, drawer_id=drawer)


def _report(draft: Draft, drawer: str, late_payment: str | None) -> None:
    session = draft.need("drawer_session", drawer)
    number = session["reports"] + 1
    draft.update("drawer_session", drawer, reports=number)
    told = ("device_id", "opening", "expected", "counted", "differences")
    row = {"drawer_id": drawer, "number": number, **{name: session[name] for name in told}}
    made = {"late_payment_id": late_payment, "made_at": draft.context.decided_at}
    if draft.context.is_truth:
        draft.put("drawer_report", report_id(drawer, number), {**row, **made})


def _sums(draft: Draft, amounts: Iterable[Money]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for one in amounts:
        sums[one.currency] = sums.get(one.currency, 0) + to_minor(one.amount, one.currency)
    for currency, minor in sums.items():
        if minor > DRAWER_PAYMENTS_MAX * to_minor(str(units_max(draft)), currency):
            raise InvalidMoney(
                f"no drawer holds more than {DRAWER_PAYMENTS_MAX} times {units_max(draft)} {currency} here"
            )
    return dict(sorted(sums.items()))


def _difference(counted: Sums, expected: Sums) -> dict[str, int]:
    currencies = sorted({*counted, *expected})
    found = {currency: counted.get(currency, 0) - expected.get(currency, 0) for currency in currencies}
    return {currency: minor for currency, minor in found.items() if minor}


def _told(differences: Sums) -> str:
    return ", ".join(f"{to_amount(minor, currency)} {currency}" for currency, minor in differences.items())
