"""The first account of an installation: made once, kept over restarts, and nobody's when it was changed."""

from __future__ import annotations

import pytest

from server.adapters.memory import MemorySystem, memory_signer
from server.adapters.postgres.accounts import PostgresAccounts, PostgresSessions
from server.adapters.seals import KeySealer
from server.application.commands.accounts import has_password, set_password
from server.application.commands.first_admin import ADMIN_EMAIL, FirstAdmin, first_admin
from server.application.people import People
from tests.support.real_town import real_town


class PowerCut(Exception):
    """The machine goes dark."""


def people_of(pool: object, system: MemorySystem) -> People:
    accounts, sessions = PostgresAccounts(pool), PostgresSessions(pool)  # type: ignore[arg-type]
    return People(accounts=accounts, sessions=sessions, sealer=KeySealer(memory_signer(), system), system=system)


async def test_the_first_admin_is_made_once_and_keeps_the_password(migrated_database: str) -> None:
    async with real_town(migrated_database) as town:
        people = people_of(town.pool, town.system)
        kept: list[str] = []

        made = await first_admin(people, {town.id: town.admin_id}, kept=None, keep=kept.append)
        again = await first_admin(people, {town.id: town.admin_id}, kept=kept[0], keep=kept.append)

        assert (made, again) == (
            FirstAdmin(password=kept[0], is_new=True),
            FirstAdmin(password=kept[0], is_new=False),
        )
        assert (len(kept), await has_password(people, ADMIN_EMAIL, kept[0])) == (1, True)
        assert await people.accounts.emails(town.id) == {town.admin_id: ADMIN_EMAIL}


async def test_a_password_that_was_changed_is_not_told_any_more(migrated_database: str) -> None:
    async with real_town(migrated_database) as town:
        people = people_of(town.pool, town.system)
        kept: list[str] = []
        await first_admin(people, {}, kept=None, keep=kept.append)
        await set_password(people, ADMIN_EMAIL, "something of my own", drops_second_factor=False)

        again = await first_admin(people, {}, kept=kept[0], keep=kept.append)

        assert again == FirstAdmin(password=None, is_new=False)


async def test_a_crash_before_the_account_is_made_is_mended_by_the_next_start(migrated_database: str) -> None:
    kept: list[str] = []

    def keep(password: str) -> None:
        kept.append(password)
        raise PowerCut

    async with real_town(migrated_database) as town:
        people = people_of(town.pool, town.system)
        with pytest.raises(PowerCut):
            await first_admin(people, {}, kept=None, keep=keep)

        again = await first_admin(people, {}, kept=kept[0], keep=kept.append)

        assert (again.password, await has_password(people, ADMIN_EMAIL, kept[0])) == (kept[0], True)


async def test_a_town_whose_admin_has_another_account_is_left_alone(migrated_database: str) -> None:
    async with real_town(migrated_database) as town:
        people = people_of(town.pool, town.system)
        await first_admin(people, {town.id: town.admin_id}, kept=None, keep=lambda _password: None)

        await first_admin(people, {town.id: town.driver_id}, kept=None, keep=lambda _password: None)

        assert await people.accounts.emails(town.id) == {town.admin_id: ADMIN_EMAIL}
