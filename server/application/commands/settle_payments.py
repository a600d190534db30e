"""What becomes of mobile money, by asking the provider: nothing else moves any.

One item of the outbox stands for one payment until the provider has said its last word. It is worked on step by step,
and each step may be done again: the reference never changes, so the provider moves the money once; the payment's own
status is read before anything is said of it, so the books hear of it once. Killed anywhere, it goes on where it was.

In time: the payer is asked in the first ten minutes, or never. The provider is asked after seconds, then more rarely;
past its own deadline once more after a day. What it says after that, or takes back, comes by a callback, which is a
hint to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from server.application.commands.act import effective
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.work_off_outbox import Handler, Hopeless, NotYet
from server.application.payment_ports import MobileMoney, ProviderUnavailable, Return, Wanted, Word, WordKind
from server.application.ports import Messages, OutboxItem, System, Towns
from server.domain.devices import server_device_id
from server.domain.payments import callback_path, provider_reference
from server.domain.tracking import tracking_code
from sync.kernel.changeset import Fields, Operation
from sync.kernel.clock import parse_time
from sync.kernel.errors import TallystickError
from sync.kernel.money import to_amount
from sync.modules.billing import ConfirmPayment, ExpirePayment, FailPayment, PayRefund
from sync.modules.billing.entities import mark_id
from sync.modules.billing.marks import RETURNED

ASK_PAYER_SECONDS_MAX: Final = 600
"""Nobody is asked on their telephone about something that they did longer ago."""

DEADLINE_SECONDS: Final = 900
"""The provider gives up after five minutes; what it has not settled by now it does not know itself."""

LAST_ASK_SECONDS: Final = 24 * 3600
PAUSE_SECONDS: Final = 5
PAUSE_SECONDS_MAX: Final = 60
REFUND_PAUSE_SECONDS_MAX: Final = 3600

NOT_REACHED: Final = "NOT_REACHED"
"""The reason of a payment whose request never got in at the provider."""

_NOT_ARRIVED = frozenset({"PENDING", "FAILED", "EXPIRED"})


class RefundFailed(Hopeless):
    """The provider has not paid this refund, and will not; pay it in another way, then have this tried again."""

    code: ClassVar[str] = "refund_failed"


class PaymentMissing(TallystickError):
    """There is no such payment here."""

    code: ClassVar[str] = "payment_missing"


@dataclass(frozen=True, kw_only=True, slots=True)
class PaymentDesk:
    """The ports, and what callbacks are addressed with; without a provider all work waits for one."""

    provider: MobileMoney | None
    towns: Towns
    appliers: Appliers
    system: System
    public_url: str
    callback_secret: bytes = field(repr=False)

    def handlers(self) -> Mapping[str, Handler]:
        """What is done here, by the kind of work."""
        return {"momo.request": self._settle, "momo.callback": self._hear, "momo.refund": self._give_back}

    @property
    def _asked(self) -> MobileMoney:
        if self.provider is None:
            raise ProviderUnavailable("no provider of mobile money is set: TALLYSTICK_MOMO_BASE_URL")
        return self.provider

    async def _settle(self, item: OutboxItem, _messages: Messages, _at: str) -> None:
        payment_id = str(item.data["payment"])
        payment, settlement = await self._payment(item.town_id, payment_id)
        status = settlement["status"]
        if status != "PENDING":
            return
        word = await self._asked.ask(provider_reference(payment_id))
        self.system.reached("momo.after_ask")
        age_seconds = self._age_seconds(settlement["changed_at"])  # by our clock: when the town heard of it
        if word is None:
            await self._not_known(item.town_id, payment_id, payment, age_seconds)
        elif word.kind is WordKind.PENDING:
            await self._wait(item.town_id, payment_id, age_seconds)
        else:
            await self._say(item.town_id, payment_id, status, word)

    async def _not_known(self, town_id: str, payment_id: str, payment: Fields, age_seconds: float) -> None:
        """The provider has not heard of it: it is asked for, or it is too late for that.

        What a customer says has been paid (a reference on a device's claim) is not asked for a second time.
        """
        is_claim = payment["device_id"] != server_device_id(town_id)
        said_seconds = self._age_seconds(payment["taken_at"])
        if max(age_seconds, said_seconds) <= ASK_PAYER_SECONDS_MAX and not (is_claim and payment["reference"]):
            await self._asked.request(self._wanted(town_id, payment_id, payment))
            self.system.reached("momo.after_request")
            raise NotYet(PAUSE_SECONDS)
        if is_claim:
            await self._wait(town_id, payment_id, age_seconds)
        else:
            await self._author(town_id, FailPayment(payment=payment_id, reason=NOT_REACHED))

    async def _wait(self, town_id: str, payment_id: str, age_seconds: float) -> None:
        if age_seconds >= LAST_ASK_SECONDS:
            await self._author(town_id, ExpirePayment(payment=payment_id))
            return
        if age_seconds >= DEADLINE_SECONDS:
            raise NotYet(LAST_ASK_SECONDS - age_seconds)
        raise NotYet(min(max(age_seconds / 2, PAUSE_SECONDS), PAUSE_SECONDS_MAX))

    async def _hear(self, item: OutboxItem, _messages: Messages, _at: str) -> None:
        """Something came from outside: whatever it says, the provider is asked, and what that says counts.

        A provider that knows nothing of it has not sent it, or will be asked by the payment's own item.
        """
        payment_id = str(item.data["payment"])
        status = (await self._payment(item.town_id, payment_id))[1]["status"]
        word = await self._asked.ask(provider_reference(payment_id))
        self.system.reached("momo.after_hearing")
        if word is not None and word.kind is not WordKind.PENDING:
            await self._say(item.town_id, payment_id, status, word)

    async def _say(self, town_id: str, payment_id: str, status: str, word: Word) -> None:
        """The provider's last word, if the books have not heard it."""
        if word.kind is WordKind.SUCCESSFUL and status in _NOT_ARRIVED:
            reference = word.reference or provider_reference(payment_id)
            confirm = ConfirmPayment(
                payment=payment_id, amount=word.amount, currency=word.currency, reference=reference
            )
            await self._author(town_id, confirm)
        elif word.kind is WordKind.FAILED and status in {"PENDING", "CONFIRMED"}:
            await self._author(town_id, FailPayment(payment=payment_id, reason=word.reason))

    async def _give_back(self, item: OutboxItem, _messages: Messages, _at: str) -> None:
        """What the provider has given back is on the books, whatever has become of the refund since."""
        refund_id = str(item.data["refund"])
        refund = await self._row(item.town_id, "refund", refund_id)
        if refund is None:
            return
        reference = provider_reference(refund_id)
        word = await self._asked.ask_return(reference)
        self.system.reached("momo.after_asking_refund")
        if word is None:
            await self._order_return(item.town_id, refund_id, refund)
            return
        if word.kind is WordKind.PENDING:
            age_seconds = self._age_seconds(refund["requested_at"])
            raise NotYet(min(max(age_seconds / 2, PAUSE_SECONDS), REFUND_PAUSE_SECONDS_MAX))
        if word.kind is WordKind.FAILED and refund["state"] != "APPROVED":
            return
        if word.kind is WordKind.FAILED:
            raise RefundFailed(f"the provider has not paid this refund: {word.reason or 'it does not say why'}")
        told = word.reference or reference
        if await self._row(item.town_id, "payment_mark", mark_id("reference", RETURNED, told)):
            return
        paid_back = PayRefund(
            payment=refund["payment_id"],
            refund=refund_id,
            amount=word.amount,
            currency=word.currency,
            method="momo",
            reference=told,
        )
        await self._author(item.town_id, paid_back)

    async def _order_return(self, town_id: str, refund_id: str, refund: Fields) -> None:
        """What was not given back in another way meanwhile, of money that is still there."""
        settlement = await self._row(town_id, "settlement", refund["payment_id"])
        left_minor = refund["amount_minor"] - refund["paid_minor"]
        if refund["state"] != "APPROVED" or settlement is None or settlement["status"] != "CONFIRMED":
            return
        returned = Return(
            reference=provider_reference(refund_id),
            paid=provider_reference(refund["payment_id"]),
            amount=to_amount(left_minor, refund["currency"]),
            currency=refund["currency"],
            external_id=refund_id,
            note=refund["reason"],
        )
        await self._asked.give_back(returned)
        self.system.reached("momo.after_refund")
        raise NotYet(PAUSE_SECONDS)

    async def _row(self, town_id: str, entity: str, row_id: str) -> Fields | None:
        async with self.towns.reading(town_id) as reader:
            stored = (await reader.load([(entity, row_id)]))[entity, row_id]
        return stored.fields if stored else None

    async def _payment(self, town_id: str, payment_id: str) -> tuple[Fields, Fields]:
        """The payment, and what became of it so far."""
        keys = [("payment", payment_id), ("settlement", payment_id)]
        async with self.towns.reading(town_id) as reader:
            rows = await reader.load(keys)
        payment, settlement = (rows[key] for key in keys)
        if payment is None or settlement is None:
            raise PaymentMissing
        return payment.fields, settlement.fields

    def _wanted(self, town_id: str, payment_id: str, payment: Fields) -> Wanted:
        code = tracking_code(self.callback_secret, town_id, payment_id)
        return Wanted(
            reference=provider_reference(payment_id),
            amount=to_amount(payment["amount_minor"], payment["currency"]),
            currency=payment["currency"],
            payer=payment["payer"],
            external_id=payment_id,
            note="Payment",
            callback_url=self.public_url + callback_path(town_id, code),
        )

    async def _author(self, town_id: str, operation: Operation) -> None:
        """Have the town decide it; raises `RuleRefused`, `Unavailable`."""
        self.system.reached("momo.before_saying")
        effective(await self.appliers.author(town_id, server_device_id(town_id), [operation]))
        self.system.reached("momo.after_saying")

    def _age_seconds(self, since: str) -> float:
        return max(0.0, (self.system.now_ms() - parse_time(since)) / 1000)
