"""A counter's app: what its screen would call, each a few lines over the SDK; none of it needs a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from server.cli.demo import script
from server.cli.demo.apps import Device
from server.cli.demo.world import Handed, Tally, World, pounds
from sync.modules.billing import CloseDrawer, CountDrawer, Money, OpenDrawer, PayRefund, RequestRefund, TakePayment

OPEN_DRAWER = "SELECT id, expected FROM drawer_sessions WHERE state <> 'CLOSED'"
REPORT = "SELECT number, opening, expected, counted, differences FROM drawer_reports ORDER BY made_at DESC LIMIT 1"


def money_of(pence: int) -> list[Money]:
    """So much as it is said of a drawer."""
    return [Money(amount=pounds(pence), currency=script.CURRENCY)] if pence else []


def close_drawer(device: Device, counted_pence: int) -> bool:
    """Count the open drawer of a device and close it; whether the device had been told what should be in it."""
    [drawer] = device.replica.query(OPEN_DRAWER)
    device.record(CountDrawer(drawer=drawer["id"], counted=money_of(counted_pence)))
    device.record(CloseDrawer(drawer=drawer["id"]))
    return drawer["expected"] is not None


class CounterApp:
    """What a counter's screen does."""

    def __init__(self, device: Device, world: World, tally: Tally) -> None:
        self.device = device
        self._world = world
        self._tally = tally

    def open(self) -> None:
        """The float is in the drawer."""
        self.device.record(OpenDrawer(opening=money_of(script.FLOAT_PENCE)))

    def take(self, bill: script.Bill, pence: int, *, card: str = "") -> str:
        """Money for a bill, in cash or by a card whose terminal gave this reference; the payment's id."""
        method: Literal["card", "cash"] = "card" if card else "cash"
        invoice, amount = self._world.bills[bill.title], pounds(pence)
        take = TakePayment(invoice=invoice, amount=amount, currency=script.CURRENCY, method=method, reference=card)
        done = self.device.record(take)
        assert done.receipt is not None
        self._tally.slips.append(done.receipt)
        self._hand(bill, pence, is_cash=not card)
        return done.id

    def ask_back(self, payment: str, pence: int, reason: str) -> str:
        """Ask for a refund; its id."""
        amount = pounds(pence)
        refund = RequestRefund(payment=payment, amount=amount, currency=script.CURRENCY, reason=reason)
        return self.device.record(refund).id

    def give_back(self, bill: script.Bill, payment: str, refund: str, pence: int) -> None:
        """What was agreed, out of the drawer."""
        amount = pounds(pence)
        self.device.record(PayRefund(payment=payment, refund=refund, amount=amount, currency=script.CURRENCY))
        self._hand(bill, -pence, is_cash=True)

    def refund(self, refund: str) -> dict[str, Any] | None:
        """A refund as this counter knows it."""
        return self.device.replica.get("refund", refund)

    def in_drawer(self) -> int:
        """What must lie there by what went over the counter, the float included; in pence."""
        return script.FLOAT_PENCE + sum(self._cash())

    def _cash(self) -> Sequence[int]:
        mine = (one for one in self._tally.handed if one.device == self.device.name)
        return [one.pence for one in mine if one.is_cash]

    def _hand(self, bill: script.Bill, pence: int, *, is_cash: bool) -> None:
        self._tally.handed.append(Handed(device=self.device.name, bill=bill.title, pence=pence, is_cash=is_cash))
