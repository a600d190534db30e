"""Enrolment codes, the public keys that were ever used, and token requests: what is found before a town is known."""

from __future__ import annotations

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, translated
from server.application.ports import Enrolment

_TAKE = """
UPDATE enrolments SET public_key = %(key)s
WHERE code_hash = %(code)s AND (public_key = %(key)s OR (public_key IS NULL AND expires_at > %(now)s))
RETURNING code_hash, town_id, role, user_id, warehouse_id, expires_at, school_id
"""
"""One atomic statement: of two devices with one code, one wins, and the winner may ask again."""


class PostgresEnrolments:
    """The `Enrolments` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def add(self, enrolment: Enrolment) -> None:
        """Keep a code that an admin made."""
        with translated():
            async with self._pool.connection() as connection:
                await connection.execute(
                    "INSERT INTO enrolments (code_hash, town_id, role, user_id, warehouse_id, expires_at, school_id) "
                    "VALUES (%s, %s, %s, %s, %s, %s, %s)",
                    [
                        enrolment.code_hash,
                        enrolment.town_id,
                        enrolment.role,
                        enrolment.user_id,
                        enrolment.warehouse_id,
                        enrolment.expires_at,
                        enrolment.school_id,
                    ],
                )

    async def take(self, code_hash: bytes, public_key: str, now: str) -> Enrolment | None:
        """Use the code up for this key; the same key may take it again."""
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_TAKE, {"code": code_hash, "key": public_key, "now": now})
                row = await cursor.fetchone()
        if row is None:
            return None
        code, town_id, role, user_id, warehouse_id, expires_at, school_id = row
        return Enrolment(
            code_hash=code,
            town_id=town_id,
            role=role,
            user_id=user_id,
            warehouse_id=warehouse_id,
            expires_at=expires_at,
            school_id=school_id,
        )

    async def device_of_key(self, public_key: str) -> tuple[str, str] | None:
        """(town id, device id) of the device that ever had this key."""
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(
                    "SELECT town_id, device_id FROM device_keys WHERE public_key = %s", [public_key]
                )
                row = await cursor.fetchone()
        return (row[0], row[1]) if row else None

    async def bind_key(self, public_key: str, town_id: str, device_id: str) -> tuple[str, str]:
        """Reserve the key for this device for ever; an earlier binding wins."""
        with translated():
            async with self._pool.connection() as connection:
                await connection.execute(
                    "INSERT INTO device_keys (public_key, town_id, device_id) VALUES (%s, %s, %s) "
                    "ON CONFLICT DO NOTHING",
                    [public_key, town_id, device_id],
                )
        bound = await self.device_of_key(public_key)
        assert bound is not None
        return bound

    async def use_jti(self, jti: str, expires_at: str) -> bool:
        """Remember a token request; False when it was used before."""
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(
                    "INSERT INTO used_token_requests (jti, expires_at) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                    [jti, expires_at],
                )
                return cursor.rowcount == 1

    async def forget(self, requests_before: str, enrolments_before: str) -> int:
        """Two deletes in one transaction; safe to run twice at once."""
        with translated():
            async with self._pool.connection() as connection:
                requests = await connection.execute(
                    "DELETE FROM used_token_requests WHERE expires_at < %s", [requests_before]
                )
                codes = await connection.execute("DELETE FROM enrolments WHERE expires_at < %s", [enrolments_before])
                return requests.rowcount + codes.rowcount
