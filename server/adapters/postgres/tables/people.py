"""Accounts and their sessions, which belong to no town, and the requests that each town has answered."""

from __future__ import annotations

from sqlalchemy import ARRAY, CheckConstraint, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from server.adapters.postgres.tables.base import UUID, datetime, moment, whole
from server.adapters.postgres.tables.evidence import HASH_BYTES


class Account(SQLModel, table=True):
    """Somebody who signs in; works in towns as the users that `AccountTown` names.

    The secret of the second factor is sealed; its last used step and the hashes of the recovery codes that are left
    make each code good for one time.
    """

    __tablename__ = "accounts"
    id: UUID = Field(primary_key=True)
    email: str = Field(unique=True)
    password_hash: str
    totp_secret: bytes | None = Field(sa_type=LargeBinary)
    totp_is_confirmed: bool
    totp_step: int = whole()
    recovery_codes: list[bytes] = Field(sa_type=ARRAY(LargeBinary))
    made_at: datetime = moment()


class AccountTown(SQLModel, table=True):
    """Which user an account is in a town; read before the town is known."""

    __tablename__ = "account_towns"
    __table_args__ = (UniqueConstraint("town_id", "user_id"),)
    account_id: UUID = Field(primary_key=True)
    town_id: UUID = Field(primary_key=True)
    user_id: UUID


class Session(SQLModel, table=True):
    """A browser that has signed in; of its token only the hash is kept."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint(f"octet_length(token_hash) = {HASH_BYTES}", name="sessions_hash_check"),
        Index(None, "account_id"),
    )
    token_hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    account_id: UUID
    proven_at: datetime = moment()
    seen_at: datetime = moment()
    expires_at: datetime = moment()


class SignInTries(SQLModel, table=True):
    """How often signing in has failed for an e-mail or from an address, by the hash of it."""

    __tablename__ = "sign_in_tries"
    subject: bytes = Field(primary_key=True, sa_type=LargeBinary)
    failures: int = whole()
    failed_at: datetime = moment()
    locked_until: datetime = moment()


class Idempotency(SQLModel, table=True):
    """A request that was answered: the same key gets the verdict on this line of the town's own device again."""

    __tablename__ = "idempotency"
    town_id: UUID = Field(primary_key=True)
    principal_id: UUID = Field(primary_key=True)
    key: str = Field(primary_key=True)
    request_hash: bytes = Field(sa_type=LargeBinary)
    seq: int = whole()
    made_at: datetime = moment()
