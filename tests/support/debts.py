"""A town in which somebody owes, and whoever reminds them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from server.adapters.keys import KeySigner
from server.adapters.memory import MemorySystem, SilentBell
from server.adapters.redis.breaker import Breaker
from server.adapters.reminder_gateway import HttpGateway
from server.adapters.reminder_sandbox import ReminderSandbox
from server.application.commands.work_off_outbox import WorkedOff
from server.application.reminder_ports import Reminder, Told
from server.jobs.relay import answer
from server.jobs.reminders import write_reminders
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id
from sync.modules.billing import InvoiceLine, IssueInvoice, RegisterParty, TakePayment
from tests.support.provider import CALL_SECONDS_MAX, reminder_gateway
from tests.support.real_town import RealTown, real_town

DAY_SECONDS = 24 * 3600
PHONE = "447624100017"
SECRET = b"a secret of the gateway"


@dataclass(kw_only=True)
class Debt:
    """A town and an invoice over 30.00 that is due today; satisfies `ReminderParts`."""

    town: RealTown
    invoice: str
    bell: SilentBell = field(default_factory=SilentBell)

    def __post_init__(self) -> None:
        self.towns, self.system, self.reminder_desk = self.town.towns, self.town.system, self.town.reminder_desk
        self.reminders = self.reminder_desk.reminders

    async def remind(self, after_seconds: float = 0) -> int:
        """How many there are, so much later and after another run."""
        self.system.advance(after_seconds)
        await write_reminders(self)
        return len(await self.told())

    async def work(self, after_seconds: float = 0) -> WorkedOff:
        """What a worker does so much later."""
        self.system.advance(after_seconds)
        return await answer(self.town, self.town.id)

    async def pay(self, amount: str) -> None:
        """Somebody pays so much of the invoice."""
        payment = TakePayment(id=self.town.new_id(), invoice=self.invoice, amount=amount, currency="GBP")
        await self.town.author(payment)

    async def told(self) -> list[Told]:
        """What was written, the newest first."""
        return list(await self.reminders.written(self.town.id, 100))

    async def fates(self) -> list[tuple[str, str]]:
        """What became of each, the newest first, and why."""
        return [(one.fate.value, one.why) for one in await self.told()]


@asynccontextmanager
async def debt_in(
    database_url: str,
    *,
    gateway: HttpGateway | None = None,
    system: MemorySystem | None = None,
    signer: KeySigner | None = None,
    phone: str = PHONE,
    time_zone: str = "Europe/London",
) -> AsyncIterator[Debt]:
    """The town, where it is a quarter past eight in the morning unless `system` says otherwise."""
    async with real_town(database_url, system=system, signer=signer, gateway=gateway, time_zone=time_zone) as town:
        yield Debt(town=town, invoice=await owe(town, "Zoë", phone))


async def owe(town: RealTown, name: str, phone: str = PHONE) -> str:
    """The id of an invoice over 30.00 that is due today."""
    party, invoice = town.new_id(), town.new_id()
    await town.author(RegisterParty(id=party, name=name, phone=phone))
    lines, today = [InvoiceLine(text="rent", amount="30.00")], format_time(town.system.now_ms())[:10]
    await town.author(IssueInvoice(id=invoice, party=party, title="Rent", lines=lines, currency="GBP", due_on=today))
    return invoice


@asynccontextmanager
async def gateway_at(system: MemorySystem) -> AsyncIterator[tuple[HttpGateway, ReminderSandbox, str]]:
    """The adapter, the real server that it talks to and whose clock is the town's, and the server's address."""
    breaker = Breaker(monotonic=lambda: system.now_ms() / 1000)
    with reminder_gateway(SECRET, clock=lambda: system.now_ms() / 1000) as (sandbox, url):
        gateway = HttpGateway(url, [SECRET], system=system, call_seconds_max=CALL_SECONDS_MAX, breaker=breaker)
        yield gateway, sandbox, url
        await gateway.close()


def reminder(number: int = 1) -> Reminder:
    """One that any gateway takes."""
    return Reminder(
        id=derived_id("reminder", number),
        invoice_id=derived_id("invoice"),
        number=number,
        phone=PHONE,
        text="Zoë: 30.00 GBP for Rent were due on 2026-11-21.",
        written_at="2026-11-22T08:15:00.000Z",
    )


def zone_where_it_is_noon(unix_ms: int) -> str:
    """A time zone in which it is between 12 and 13 o'clock; the sign of its name is turned round."""
    ahead_hours = 12 - unix_ms // 3_600_000 % 24
    return f"Etc/GMT{-ahead_hours:+d}" if ahead_hours else "Etc/GMT"
