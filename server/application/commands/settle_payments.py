"""What becomes of mobile money and of cards online, by asking the provider: nothing else moves any.

One item of the outbox stands for one payment until the provider has said its last word. It is worked on step by step,
and each step may be done again: the reference never changes, so the provider moves the money once; the payment's own
status is read before anything is said of it, so the books hear of it once. Killed anywhere, it goes on where it was.

In time: the payer of mobile money is asked in the first ten minutes, or never; a card is paid on a page that the
customer's own request opens, so there is nobody to be asked. The provider is asked after seconds, then more rarely;
past its own deadline once more after a day. What it says after that, or takes back, comes by a callback, which is a
hint to ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Final, Literal

from server.application.commands.act import effective
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.work_off_outbox import Handler, Hopeless, NotYet
from server.application.payment_ports import (
    CardPayments,
    MobileMoney,
    Provider,
    ProviderUnavailable,
    Return,
    Wanted,
    WantedByCard,
    Word,
    WordKind,
)
from server.application.ports import Messages, OutboxItem, System, Towns
from server.domain.devices import server_device_id
from server.domain.payments import callback_path, provider_reference
from server.domain.tracking import tracking_code
from sync.kernel.changeset import Fields, Operation
from sync.kernel.clock import parse_time
from sync.kernel.errors import TallystickError
from sync.kernel.money import to_amount
from sync.modules.billing import ConfirmPayment, ExpirePayment, FailPayment, PayRefund, ReversePayment
from sync.modules.billing.entities import mark_id
from sync.modules.billing.marks import RETURNED

ASK_PAYER_SECONDS_MAX: Final = 600
"""Nobody is asked on their telephone about something that they did longer ago."""

CARD_DEADLINE_SECONDS: Final = 2100
"""A page is open for half an hour; what the provider knows nothing of after that was never opened."""

DEADLINE_SECONDS: Final = 900
"""The provider gives up after five minutes; what it has not settled by now it does not know itself."""

LAST_ASK_SECONDS: Final = 24 * 3600
PAUSE_SECONDS: Final = 5
PAUSE_SECONDS_MAX: Final = 60
REFUND_PAUSE_SECONDS_MAX: Final = 3600

Method = Literal["momo", "card"]

NOT_REACHED: Final = "NOT_REACHED"
"""The reason of a payment whose request never got in at the provider."""

_METHODS: Final[Sequence[Method]] = ("momo", "card")
_REFERENCE_MAX = 100
_NOT_ARRIVED = frozenset({"PENDING", "FAILED", "EXPIRED"})


class RefundFailed(Hopeless):
    """The provider has not paid this refund, and will not; pay it in another way, then have this tried again."""

    code: ClassVar[str] = "refund_failed"


class CallbackAltered(Hopeless):
    """A provider has sent two things under one number; nothing is done about the second. Ask the provider."""

    code: ClassVar[str] = "callback_altered"


class PaymentMissing(TallystickError):
    """There is no such payment here."""

    code: ClassVar[str] = "payment_missing"


@dataclass(frozen=True, kw_only=True, slots=True)
class PaymentDesk:
    """The ports, and what callbacks are addressed with; without its provider all work of a kind waits for one."""

    momo: MobileMoney | None = None
    card: CardPayments | None = None
    towns: Towns
    appliers: Appliers
    system: System
    public_url: str
    callback_secret: bytes = field(repr=False)

    def handlers(self) -> Mapping[str, Handler]:
        """What is done here, by the kind of work."""
        by_method = {
            f"{method}.{what}": partial(does, method)
            for method in _METHODS
            for what, does in (("request", self._settle), ("callback", self._hear), ("refund", self._give_back))
        }
        return {**by_method, "card.altered": _refuse_altered}

    def _asked(self, method: Method) -> Provider:
        provider: Provider | None = self.momo if method == "momo" else self.card
        if provider is None:
            raise ProviderUnavailable(f"no provider is set: TALLYSTICK_{method.upper()}_BASE_URL")
        return provider

    async def _settle(self, method: Method, item: OutboxItem, _messages: Messages, _at: str) -> None:
        payment_id = str(item.data["payment"])
        payment, settlement = await self._payment(item.town_id, payment_id)
        status = settlement["status"]
        if status != "PENDING":
            return
        word = await self._asked(method).ask(provider_reference(payment_id))
        self.system.reached("payment.after_ask")
        age_seconds = self._age_seconds(settlement["changed_at"])  # by our clock: when the town heard of it
        if word is None and method == "card":
            await self._not_opened(item.town_id, payment_id, age_seconds)
        elif word is None:
            await self._not_known(item.town_id, payment_id, payment, age_seconds)
        elif word.kind is WordKind.PENDING:
            await self._wait(item.town_id, payment_id, age_seconds, method)
        else:
            await self._say(item.town_id, payment_id, status, word)

    async def _not_opened(self, town_id: str, payment_id: str, age_seconds: float) -> None:
        """The customer's own request opens the page; whoever never came back to do so has not paid."""
        if age_seconds < CARD_DEADLINE_SECONDS:
            raise NotYet(min(max(age_seconds / 2, PAUSE_SECONDS), PAUSE_SECONDS_MAX))
        await self._author(town_id, FailPayment(payment=payment_id, reason=NOT_REACHED))

    async def _not_known(self, town_id: str, payment_id: str, payment: Fields, age_seconds: float) -> None:
        """The provider has not heard of it: it is asked for, or it is too late for that.

        What a customer says has been paid (a reference on a device's claim) is not asked for a second time.
        """
        is_claim = payment["device_id"] != server_device_id(town_id)
        said_seconds = self._age_seconds(payment["taken_at"])
        if max(age_seconds, said_seconds) <= ASK_PAYER_SECONDS_MAX and not (is_claim and payment["reference"]):
            assert self.momo is not None  # it was asked just now
            await self.momo.request(self._wanted(town_id, payment_id, payment))
            self.system.reached("payment.after_request")
            raise NotYet(PAUSE_SECONDS)
        if is_claim:
            await self._wait(town_id, payment_id, age_seconds)
        else:
            await self._author(town_id, FailPayment(payment=payment_id, reason=NOT_REACHED))

    async def _wait(self, town_id: str, payment_id: str, age_seconds: float, method: Method = "momo") -> None:
        if age_seconds >= LAST_ASK_SECONDS:
            await self._author(town_id, ExpirePayment(payment=payment_id))
            return
        if age_seconds >= (DEADLINE_SECONDS if method == "momo" else CARD_DEADLINE_SECONDS):
            raise NotYet(LAST_ASK_SECONDS - age_seconds)
        raise NotYet(min(max(age_seconds / 2, PAUSE_SECONDS), PAUSE_SECONDS_MAX))

    async def _hear(self, method: Method, item: OutboxItem, _messages: Messages, _at: str) -> None:
        """Something came from outside: whatever it says, the provider is asked, and what that says counts.

        A provider that knows nothing of it has not sent it, or will be asked by the payment's own item.
        """
        payment_id = str(item.data["payment"])
        status = (await self._payment(item.town_id, payment_id))[1]["status"]
        word = await self._asked(method).ask(provider_reference(payment_id))
        self.system.reached("payment.after_hearing")
        if word is not None and word.kind is not WordKind.PENDING:
            await self._say(item.town_id, payment_id, status, word)

    async def _say(self, town_id: str, payment_id: str, status: str, word: Word) -> None:
        """The provider's last word, if the books have not heard it."""
        if word.kind is WordKind.SUCCESSFUL and status in _NOT_ARRIVED:
            await self._author(town_id, _confirmed(payment_id, word))
        elif word.kind is WordKind.FAILED and status in {"PENDING", "CONFIRMED"}:
            await self._author(town_id, FailPayment(payment=payment_id, reason=word.reason))
        elif word.kind is WordKind.REVERSED and status in {"CONFIRMED", *_NOT_ARRIVED}:
            came = [_confirmed(payment_id, word)] if status in _NOT_ARRIVED else []
            taken = word.reversal or f"{word.reference or provider_reference(payment_id)} reversed"
            back = ReversePayment(payment=payment_id, reference=taken[:_REFERENCE_MAX], reason=word.reason)
            await self._author(town_id, *came, back)

    async def _give_back(self, method: Method, item: OutboxItem, _messages: Messages, _at: str) -> None:
        """What the provider has given back is on the books, whatever has become of the refund since."""
        refund_id = str(item.data["refund"])
        refund = await self._row(item.town_id, "refund", refund_id)
        if refund is None:
            return
        reference = provider_reference(refund_id)
        word = await self._asked(method).ask_return(reference)
        self.system.reached("payment.after_asking_refund")
        if word is None:
            await self._order_return(method, item.town_id, refund_id, refund)
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
            method=method,
            reference=told,
        )
        await self._author(item.town_id, paid_back)

    async def _order_return(self, method: Method, town_id: str, refund_id: str, refund: Fields) -> None:
        """What was not given back in another way meanwhile, of money that is still there."""
        settlement = await self._row(town_id, "settlement", refund["payment_id"])
        left_minor = refund["amount_minor"] - refund["paid_minor"]
        if settlement is None:
            return
        if refund["state"] != "APPROVED" or settlement["status"] != "CONFIRMED":
            # Before that it may have been asked for, and the provider does not find everything at once.
            if self._age_seconds(settlement["changed_at"]) < DEADLINE_SECONDS:
                raise NotYet(PAUSE_SECONDS_MAX)
            return
        returned = Return(
            reference=provider_reference(refund_id),
            paid=provider_reference(refund["payment_id"]),
            amount=to_amount(left_minor, refund["currency"]),
            currency=refund["currency"],
            external_id=refund_id,
            note=refund["reason"],
        )
        await self._asked(method).give_back(returned)
        self.system.reached("payment.after_refund")
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

    async def _author(self, town_id: str, *operations: Operation) -> None:
        """Have the town decide it; raises `RuleRefused`, `Unavailable`."""
        self.system.reached("payment.before_saying")
        effective(await self.appliers.author(town_id, server_device_id(town_id), operations))
        self.system.reached("payment.after_saying")

    def _age_seconds(self, since: str) -> float:
        return max(0.0, (self.system.now_ms() - parse_time(since)) / 1000)


def wanted_by_card(town_id: str, payment_id: str, payment: Fields, return_url: str) -> WantedByCard:
    """What the provider's page is made of: the same for one payment for ever."""
    return WantedByCard(
        reference=provider_reference(payment_id),
        town_id=town_id,
        payment_id=payment_id,
        amount=to_amount(payment["amount_minor"], payment["currency"]),
        currency=payment["currency"],
        note="Payment",
        return_url=return_url,
    )


async def _refuse_altered(_item: OutboxItem, _messages: Messages, _at: str) -> None:
    raise CallbackAltered


def _confirmed(payment_id: str, word: Word) -> ConfirmPayment:
    reference = word.reference or provider_reference(payment_id)
    return ConfirmPayment(payment=payment_id, amount=word.amount, currency=word.currency, reference=reference)
