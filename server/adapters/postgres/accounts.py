"""Accounts and sessions in PostgreSQL. The tables belong to no town; what an account is in its towns is read from them.

Each method is one transaction. A session is opened by one statement, a function of the schema: which towns the account
is in is set for row-level security before their users are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg.errors import UniqueViolation
from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, in_one_statement, translated
from server.application.people_ports import Account, AlreadyLinked, EmailTaken, NewSession, OpenSession
from server.domain.people import Membership

_ADD = """
INSERT INTO accounts (id, email, password_hash, totp_secret, totp_is_confirmed, totp_step, recovery_codes, made_at)
VALUES (%s, %s, %s, NULL, false, 0, '{}', %s)
"""
_LINK = "INSERT INTO account_towns (account_id, town_id, user_id) VALUES (%s, %s, %s)"
_END_OTHERS = "DELETE FROM sessions WHERE account_id = %s AND token_hash IS DISTINCT FROM %s"

_COUNT = """
INSERT INTO sign_in_tries AS t (subject, failures, failed_at, locked_until)
VALUES (%(subject)s, 1, %(now)s, %(now)s::timestamptz + make_interval(secs => (%(delays)s::int[])[1]))
ON CONFLICT (subject) DO UPDATE SET failed_at = excluded.failed_at,
    failures = CASE WHEN t.failed_at < %(forgotten)s THEN 1 ELSE t.failures + 1 END,
    locked_until = excluded.failed_at + make_interval(secs => (%(delays)s::int[])[
        CASE WHEN t.failed_at < %(forgotten)s THEN 1 ELSE least(t.failures + 1, cardinality(%(delays)s::int[])) END])
WHERE t.locked_until <= %(now)s OR t.locked_until = t.failed_at
"""
"""Whoever comes while it is locked is not counted: trying on must not lock the owner out for ever.

Without a delay `locked_until` is `failed_at`: no lock for who came a moment before and is counted after.
"""

_TAKE_BACK = """
UPDATE sign_in_tries SET failures = failures - 1,
    locked_until = CASE WHEN failed_at = %(now)s THEN %(now)s ELSE locked_until END
WHERE subject = %(subject)s AND failures > 0
"""

_OPEN = """
SELECT account_id, email, has_second_factor, proven_at, expires_at, memberships
FROM open_session(%(hash)s, %(now)s, %(idle_since)s, %(touched_since)s)
"""


class PostgresAccounts:
    """The `Accounts` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def add(self, account: Account, at: str) -> None:
        """The unique e-mail decides between two at once."""
        with translated():
            async with self._pool.connection() as connection:
                try:
                    await connection.execute(_ADD, [account.id, account.email, account.password_hash, at])
                except UniqueViolation:
                    raise EmailTaken from None

    async def find(self, email: str) -> Account | None:
        """The account with this address."""
        statement = "SELECT id, email, password_hash, totp_secret, totp_is_confirmed FROM accounts WHERE email = %s"
        with translated():
            async with self._pool.connection() as connection:
                row = await (await connection.execute(statement, [email])).fetchone()
        if row is None:
            return None
        return Account(id=row[0], email=row[1], password_hash=row[2], totp_secret=row[3], totp_is_confirmed=row[4])

    async def link(self, account_id: str, town_id: str, user_id: str) -> None:
        """One row for each town, and for each user."""
        with translated():
            async with self._pool.connection() as connection:
                try:
                    async with connection.transaction():
                        await connection.execute(_LINK, [account_id, town_id, user_id])
                except UniqueViolation:
                    same = "SELECT FROM account_towns WHERE (account_id, town_id, user_id) = (%s, %s, %s)"
                    if (await connection.execute(same, [account_id, town_id, user_id])).rowcount == 0:
                        raise AlreadyLinked from None

    async def emails(self, town_id: str) -> Mapping[str, str]:
        """One statement; `account_towns` is unique over (town, user)."""
        statement = "SELECT m.user_id, a.email FROM account_towns m JOIN accounts a ON a.id = m.account_id "
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(f"{statement} WHERE m.town_id = %s", [town_id])
                return {user_id: email async for user_id, email in cursor}

    async def set_password(self, account_id: str, password_hash: str, *, keep: bytes | None) -> None:
        """Both or neither."""
        with translated():
            async with self._pool.connection() as connection:
                await connection.execute(
                    "UPDATE accounts SET password_hash = %s WHERE id = %s", [password_hash, account_id]
                )
                await connection.execute(_END_OTHERS, [account_id, keep])

    async def offer_second_factor(self, account_id: str, sealed: bytes) -> bool:
        """Replaces one that was offered before and not confirmed."""
        return await self._changes(
            "UPDATE accounts SET totp_secret = %s WHERE id = %s AND NOT totp_is_confirmed", [sealed, account_id]
        )

    async def confirm_second_factor(self, account_id: str, step: int, recovery_codes: Sequence[bytes]) -> bool:
        """The code that confirmed it is used up."""
        return await self._changes(
            "UPDATE accounts SET totp_is_confirmed = true, totp_step = %s, recovery_codes = %s "
            "WHERE id = %s AND totp_secret IS NOT NULL AND NOT totp_is_confirmed",
            [step, list(recovery_codes), account_id],
        )

    async def drop_second_factor(self, account_id: str) -> None:
        """Secret and recovery codes go together."""
        await self._changes(
            "UPDATE accounts SET totp_secret = NULL, totp_is_confirmed = false, recovery_codes = '{}' WHERE id = %s",
            [account_id],
        )

    async def use_step(self, account_id: str, step: int) -> bool:
        """Of two with one code, one wins."""
        return await self._changes(
            "UPDATE accounts SET totp_step = %s WHERE id = %s AND totp_is_confirmed AND totp_step < %s",
            [step, account_id, step],
        )

    async def use_recovery_code(self, account_id: str, digest: bytes) -> bool:
        """As above."""
        return await self._changes(
            "UPDATE accounts SET recovery_codes = array_remove(recovery_codes, %s) "
            "WHERE id = %s AND %s = ANY (recovery_codes)",
            [digest, account_id, digest],
        )

    async def _changes(self, statement: str, values: Sequence[object]) -> bool:
        with translated():
            async with self._pool.connection() as connection:
                return (await connection.execute(statement.encode(), values)).rowcount == 1


class PostgresSessions:
    """The `Sessions` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def count_try(self, subject: bytes, delays_seconds: Sequence[int], now: str, forgotten: str) -> str | None:
        """The row lock of the upsert puts tries at once in a line."""
        values = {"subject": subject, "delays": list(delays_seconds), "now": now, "forgotten": forgotten}
        with translated():
            async with self._pool.connection() as connection:
                if (await connection.execute(_COUNT, values)).rowcount:
                    return None
                cursor = await connection.execute(
                    "SELECT locked_until FROM sign_in_tries WHERE subject = %s", [subject]
                )
                row = await cursor.fetchone()
        return str(row[0]) if row else None

    async def take_back_try(self, subject: bytes, now: str) -> None:
        """A lock that this try has caused goes too, unless somebody was counted since."""
        with translated():
            async with self._pool.connection() as connection:
                await connection.execute(_TAKE_BACK, {"subject": subject, "now": now})

    async def clear_tries(self, subject: bytes) -> None:
        """Start from zero."""
        with translated():
            async with self._pool.connection() as connection:
                await connection.execute("DELETE FROM sign_in_tries WHERE subject = %s", [subject])

    async def start(self, session: NewSession, *, instead_of: bytes | None) -> None:
        """The old one ends as the new one begins."""
        with translated():
            async with self._pool.connection() as connection:
                await connection.execute("DELETE FROM sessions WHERE token_hash = %s", [instead_of])
                await connection.execute(
                    "INSERT INTO sessions (token_hash, account_id, proven_at, seen_at, expires_at) "
                    "VALUES (%s, %s, %s, %s, %s)",
                    [session.token_hash, session.account_id, session.at, session.at, session.expires_at],
                )

    async def open(self, token_hash: bytes, now: str, idle_since: str, touched_since: str) -> OpenSession | None:
        """Users are read anew each time: whoever was deactivated has lost the town at once. One statement for all."""
        values = {"hash": token_hash, "now": now, "idle_since": idle_since, "touched_since": touched_since}
        with translated():
            async with self._pool.connection() as connection, in_one_statement(connection):
                found = await (await connection.execute(_OPEN, values)).fetchone()
        if found is None:
            return None
        account_id, email, has_second_factor, proven_at, expires_at, memberships = found
        return OpenSession(
            account_id=account_id,
            email=email,
            has_second_factor=has_second_factor,
            proven_at=proven_at,
            expires_at=expires_at,
            memberships={
                town_id: Membership(
                    town_id=town_id,
                    town_name=town,
                    user_id=user_id,
                    user_name=user,
                    roles=frozenset(roles),
                    school_id=school_id,
                )
                for town_id, town, user_id, user, roles, school_id in memberships
            },
        )

    async def end(self, token_hash: bytes) -> None:
        """It is over at once, in every process."""
        with translated():
            async with self._pool.connection() as connection:
                await connection.execute("DELETE FROM sessions WHERE token_hash = %s", [token_hash])

    async def forget(self, now: str, idle_since: str, tries_before: str) -> int:
        """Safe to run twice at once."""
        with translated():
            async with self._pool.connection() as connection:
                over = "DELETE FROM sessions WHERE expires_at <= %s OR seen_at <= %s"
                sessions = await connection.execute(over, [now, idle_since])
                tries = await connection.execute(
                    "DELETE FROM sign_in_tries WHERE failed_at < %s AND locked_until <= %s", [tries_before, now]
                )
                return sessions.rowcount + tries.rowcount
