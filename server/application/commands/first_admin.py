"""The first account of an installation on one machine: its admin in every town of the sample."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from server.application.commands.accounts import PasswordNeeded, account_for, has_password
from server.application.people import People
from server.application.people_ports import AlreadyLinked

ADMIN_EMAIL: Final = "admin@localhost"
PASSWORD_BYTES = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstAdmin:
    """The password of the account, unless somebody has changed it; `is_new` when it was made just now."""

    password: str | None
    is_new: bool


async def first_admin(
    people: People, admins: Mapping[str, str], *, kept: str | None, keep: Callable[[str], None]
) -> FirstAdmin:
    """Have the account there, as these users (by town); again changes nothing.

    `kept` is the password that an earlier call has given to `keep`, which is called before the account is made: a
    crash between the two is mended by the next call.
    """
    password, is_new = kept, False
    try:
        account_id = await account_for(people, ADMIN_EMAIL, kept)
    except PasswordNeeded:
        password, is_new = base64.urlsafe_b64encode(people.system.random(PASSWORD_BYTES)).decode(), True
        keep(password)
        account_id = await account_for(people, ADMIN_EMAIL, password)
    for town_id, user_id in admins.items():
        with suppress(AlreadyLinked):  # somebody else is the admin there by now
            await people.accounts.link(account_id, town_id, user_id)
    if password is not None and not is_new and not await has_password(people, ADMIN_EMAIL, password):
        password = None
    return FirstAdmin(password=password, is_new=is_new)
