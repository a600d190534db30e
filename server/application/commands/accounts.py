"""Accounts, as whoever operates the installation makes them: one for each person, good in as many towns as need be.

No town's admin makes accounts: whoever has set a password could sign in, in another town too.
"""

from __future__ import annotations

from typing import ClassVar

from server.application.people import People
from server.application.people_ports import Account
from server.domain.passwords import SALT_BYTES, check_password
from server.domain.people import read_email
from sync.kernel.clock import format_time
from sync.kernel.errors import TallystickError
from sync.kernel.ids import RANDOM_BYTES, make_id


class AccountUnknown(TallystickError):
    """There is no account with this e-mail address."""

    code: ClassVar[str] = "account_unknown"


class PasswordNeeded(TallystickError):
    """There is no account with this e-mail address yet: a new one needs a password."""

    code: ClassVar[str] = "password_needed"


async def account_for(people: People, email: str, password: str | None) -> str:
    """The id of the account with this address, made with this password if there is none.

    A password for an account that exists is not looked at. Raises `EmailUnusable`, `PasswordUnusable`,
    `PasswordNeeded`, and what the store raises.
    """
    known_as = read_email(email)
    if (account := await people.accounts.find(known_as)) is not None:
        return account.id
    if password is None:
        raise PasswordNeeded
    check_password(password, known_as)
    now_ms = people.system.now_ms()
    made = Account(
        id=make_id(now_ms, people.system.random(RANDOM_BYTES)),
        email=known_as,
        password_hash=await people.hashing.hashed(password, people.system.random(SALT_BYTES)),
    )
    await people.accounts.add(made, format_time(now_ms))
    return made.id


async def set_password(people: People, email: str, password: str, *, drops_second_factor: bool) -> None:
    """A new password for somebody who has lost the old one, or the second factor too; every session ends.

    Raises `AccountUnknown`, `EmailUnusable`, `PasswordUnusable`.
    """
    account = await people.accounts.find(read_email(email))
    if account is None:
        raise AccountUnknown
    check_password(password, account.email)
    hashed = await people.hashing.hashed(password, people.system.random(SALT_BYTES))
    if drops_second_factor:
        await people.accounts.drop_second_factor(account.id)
    await people.accounts.set_password(account.id, hashed, keep=None)


async def has_password(people: People, email: str, password: str) -> bool:
    """Whether there is such an account and this is its password; for whoever holds the data anyway."""
    account = await people.accounts.find(read_email(email))
    return account is not None and await people.hashing.matches(password, account.password_hash)
