"""A worker is killed at every step of a confirmation, a callback and a refund: nothing is paid twice or forgotten.

The scheduler is a real process with a real clock, the provider a real server that outlives it and remembers what it was
asked for. What was left is taken up by the next one, after the lease of the dead one has lapsed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.adapters.keys import open_signer
from server.adapters.memory import MemorySystem
from server.adapters.system import RealSystem
from server.application.commands.work_off_outbox import LEASE_SECONDS
from server.application.payment_ports import WordKind
from server.domain.payments import provider_reference
from server.settings import load_settings
from sync.modules.billing import RequestRefund
from tests.support.card_town import CardTown, card_town
from tests.support.failpoints import KILLED, failpoints
from tests.support.momo_town import MomoTown, momo_town
from tests.support.worker_process import worker_process
from tests.support.write_path import findings, stored

NOBODY = "redis://127.0.0.1:1/0"
A_WHILE_MS = 60_000


@dataclass(frozen=True, kw_only=True)
class Left:
    """A town with a step to do for everything that a worker does about payments.

    `new` was not asked for yet, `paid` has its money waiting at the provider, `late` has failed and was paid after
    all, which a callback says, and `back` is to be paid back in part.
    """

    money: MomoTown
    new: str
    paid: str
    late: str
    back: str
    settings: dict[str, str]


@asynccontextmanager
async def left_alone(database_url: str, data_dir: Path) -> AsyncIterator[Left]:
    environment = {"DATABASE_URL": database_url, "REDIS_URL": NOBODY, "TALLYSTICK_DATA_DIR": str(data_dir)}
    signer = open_signer(load_settings(environment).server_key_path, may_create=True)
    then = MemorySystem(unix_ms=RealSystem().now_ms() - A_WHILE_MS)
    async with momo_town(database_url, system=then, signer=signer) as money:
        back, late = await money.ask_for(), await money.ask_for("46733123451")
        await money.settle()
        assert [await money.status(payment) for payment in (back, late)] == ["CONFIRMED", "FAILED"]
        paid = await money.ask_for()
        await money.work()
        new = await money.ask_for()
        money.sandbox.requests[provider_reference(late)].set_to = WordKind.SUCCESSFUL
        await money.call_back(late)
        await money.town.author(
            RequestRefund(
                id=money.town.new_id(), payment=back, amount="1.50", currency="GBP", method="momo", reason="broken"
            )
        )
        settings = {
            "TALLYSTICK_MOMO_BASE_URL": money.provider_url,
            "TALLYSTICK_MOMO_API_USER": "user",
            "TALLYSTICK_MOMO_API_KEY": "key",
            "TALLYSTICK_MOMO_SUBSCRIPTION_KEY": "subscription",
        }
        yield Left(money=money, new=new, paid=paid, late=late, back=back, settings=settings)


async def check_paid_once(left: Left) -> None:
    """Each payment is confirmed once, the refund is paid once, the provider has moved nothing twice, the books hold."""
    money = left.money
    for payment in (left.new, left.paid, left.late, left.back):
        assert await money.status(payment) == "CONFIRMED"
    said = await money.said()
    assert (said.count("payment.confirm"), said.count("payment.fail"), said.count("refund.pay")) == (4, 1, 1)
    assert set(money.sandbox.requests) == {
        provider_reference(payment) for payment in (left.new, left.paid, left.late, left.back)
    }
    assert len(money.sandbox.refunds) == 1
    assert await stored(money.town, "SELECT state, paid_minor FROM refunds") == [("PAID", 150)]
    assert await stored(money.town, "SELECT count(*) FROM inbox WHERE done_at IS NULL") == [(0,)]
    assert (await money.town.undone(), await findings(money.town)) == (0, ())


@pytest.mark.parametrize("failpoint", failpoints("server", "payment", "outbox"))
async def test_a_worker_killed_at_any_step_of_a_confirmation_never_pays_twice_and_never_forgets(
    migrated_database: str, tmp_path: Path, failpoint: str
) -> None:
    async with left_alone(migrated_database, tmp_path) as left:
        with worker_process(
            tmp_path, migrated_database, NOBODY, failpoint, program="scheduler", more=left.settings
        ) as process:
            assert process.wait() == KILLED

        left.money.town.system.unix_ms = RealSystem().now_ms() + LEASE_SECONDS * 1000
        for _ in range(2):
            await left.money.settle(times=4)

            await check_paid_once(left)


@asynccontextmanager
async def cards_left_alone(database_url: str, data_dir: Path) -> AsyncIterator[tuple[CardTown, dict[str, str]]]:
    """A town with a card that was paid and not asked about, one that was charged back, and a refund that is agreed."""
    environment = {"DATABASE_URL": database_url, "REDIS_URL": NOBODY, "TALLYSTICK_DATA_DIR": str(data_dir)}
    signer = open_signer(load_settings(environment).server_key_path, may_create=True)
    then = MemorySystem(unix_ms=RealSystem().now_ms() - A_WHILE_MS)
    async with card_town(database_url, system=then, signer=signer) as cards:
        back, gone = await cards.pay(), await cards.pay()
        await cards.settle()
        await cards.pay()
        cards.held(gone).set_to = WordKind.REVERSED
        await cards.call_back(gone)
        said = {"payment": back, "amount": "1.50", "currency": "GBP", "method": "card", "reason": "broken"}
        await cards.town.author(RequestRefund.model_validate({"id": cards.town.new_id(), **said}))
        settings = {
            "TALLYSTICK_CARD_BASE_URL": cards.provider_url,
            "TALLYSTICK_CARD_API_KEY": "key",
            "TALLYSTICK_WEBHOOK_SECRETS": "a secret of the provider",
        }
        yield cards, settings


@pytest.mark.parametrize("failpoint", failpoints("server", "payment", but=("payment.after_request",)))
async def test_a_worker_killed_at_any_step_of_a_card_never_pays_twice_and_never_forgets(
    migrated_database: str, tmp_path: Path, failpoint: str
) -> None:
    async with cards_left_alone(migrated_database, tmp_path) as (cards, settings):
        with worker_process(
            tmp_path, migrated_database, NOBODY, failpoint, program="scheduler", more=settings
        ) as process:
            assert process.wait() == KILLED

        cards.town.system.unix_ms = RealSystem().now_ms() + LEASE_SECONDS * 1000
        for _ in range(2):
            await cards.settle(times=4)

            said = await cards.said()
            counts = {name: said.count(name) for name in ("payment.confirm", "payment.reverse", "refund.pay")}
            assert counts == {"payment.confirm": 3, "payment.reverse": 1, "refund.pay": 1}
            assert (len(cards.sandbox.payments), len(cards.sandbox.refunds)) == (3, 1)
            assert await stored(cards.town, "SELECT count(*) FROM inbox WHERE done_at IS NULL") == [(0,)]
            assert (await cards.town.undone(), await findings(cards.town)) == (0, ())
