"""What the application may do to accounts, and the few things about them that PostgreSQL alone decides."""

from __future__ import annotations

from typing import LiteralString

import pytest

from server.adapters.postgres.accounts import PostgresAccounts, PostgresSessions
from server.adapters.postgres.connection import make_pool
from server.application.people_ports import Account, AlreadyLinked, EmailTaken
from server.application.ports import Unavailable
from sync.kernel.ids import derived_id

NOW = "2026-11-21T08:00:00.000Z"
ADA = Account(id=derived_id("ada"), email="ada@example.org", password_hash="x")
EVE = Account(id=derived_id("eve"), email="eve@example.org", password_hash="x")
TOWN, OTHER_TOWN, USER, OTHER_USER = (derived_id(name) for name in ("town", "other town", "user", "other user"))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts SET email = 'eve@example.org'",
        "UPDATE accounts SET id = gen_random_uuid()",
        "UPDATE account_towns SET account_id = gen_random_uuid()",
        "UPDATE account_towns SET user_id = gen_random_uuid()",
        "UPDATE sessions SET account_id = gen_random_uuid()",
        "UPDATE sessions SET expires_at = now() + interval '1 year'",
        "UPDATE sessions SET proven_at = now()",
        "UPDATE idempotency SET seq = 1",
        "DELETE FROM accounts",
        "TRUNCATE sign_in_tries",
    ],
)
async def test_the_api_may_not_make_an_account_anothers(migrated_database: str, statement: LiteralString) -> None:
    async with make_pool(migrated_database) as pool:
        accounts = PostgresAccounts(pool)

        with pytest.raises(Unavailable) as fault:
            await accounts._changes(statement, [])

    assert "permission denied" in str(fault.value.__cause__)


async def test_an_address_is_one_accounts(migrated_database: str) -> None:
    async with make_pool(migrated_database) as pool:
        accounts = PostgresAccounts(pool)
        await accounts.add(ADA, NOW)

        with pytest.raises(EmailTaken):
            await accounts.add(Account(id=EVE.id, email=ADA.email, password_hash="y"), NOW)

        assert await accounts.find(ADA.email) == ADA
        assert await accounts.find(EVE.email) is None


async def test_an_account_is_one_user_in_a_town_and_a_user_has_one_account(migrated_database: str) -> None:
    async with make_pool(migrated_database) as pool:
        accounts = PostgresAccounts(pool)
        for account in (ADA, EVE):
            await accounts.add(account, NOW)
        await accounts.link(ADA.id, TOWN, USER)
        await accounts.link(ADA.id, TOWN, USER)
        await accounts.link(ADA.id, OTHER_TOWN, USER)

        for account_id, user_id in ((ADA.id, OTHER_USER), (EVE.id, USER)):
            with pytest.raises(AlreadyLinked):
                await accounts.link(account_id, TOWN, user_id)

        assert await accounts.emails(TOWN) == {USER: ADA.email}


async def test_who_came_first_and_is_counted_second_is_not_locked_out_by_a_try_without_delay(
    migrated_database: str,
) -> None:
    earlier, later, forgotten = "2026-11-21T08:00:00.000Z", "2026-11-21T08:00:00.001Z", "2026-11-20T08:00:00.000Z"
    async with make_pool(migrated_database) as pool:
        sessions = PostgresSessions(pool)
        await sessions.count_try(b"office", [0, 0, 30], later, forgotten)

        assert await sessions.count_try(b"office", [0, 0, 30], earlier, forgotten) is None
        await sessions.take_back_try(b"office", earlier)
        assert await sessions.count_try(b"office", [0, 0, 30], earlier, forgotten) is None

        assert await sessions.count_try(b"office", [0, 0, 30], later, forgotten) is None  # the third, with a delay
        assert await sessions.count_try(b"office", [0, 0, 30], later, forgotten) is not None
