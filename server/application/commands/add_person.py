"""Somebody new in a town who can sign in: a user by a change set, then the account's link, which is no part of it.

Whoever is cut off between the two runs the same again: a user of the same login, name, roles and school who has no
account yet is the one that was meant, and gets it.
"""

from __future__ import annotations

from server.application.commands.administer import NewPerson, add_user
from server.application.commands.apply_change_sets import Appliers
from server.application.evidence import EvidenceStore
from server.application.people_ports import Accounts, AlreadyLinked
from server.application.ports import System
from server.application.queries.town_rows import rows_of
from server.domain.people import read_email
from sync.kernel.changeset import Fields


async def add_person(
    person: NewPerson,
    *,
    town_id: str,
    account_id: str,
    email: str,
    accounts: Accounts,
    evidence: EvidenceStore,
    appliers: Appliers,
    system: System,
) -> str:
    """The id of the person, new or found, who signs in with this account; raises as `add_user`, and `AlreadyLinked`."""
    signs_in_as = await accounts.emails(town_id)
    users = await rows_of(evidence, town_id, "user")
    linked = next((user_id for user_id, known_as in signs_in_as.items() if known_as == read_email(email)), None)
    if linked is not None:
        if linked in users and _is_meant(person, users[linked]):
            return linked
        raise AlreadyLinked
    meant = [user_id for user_id, row in users.items() if user_id not in signs_in_as and _is_meant(person, row)]
    if meant:
        user_id = max(meant)  # the newest: ids begin with their time
    else:
        user_id = await add_user(person, town_id=town_id, appliers=appliers, system=system)
        system.reached("person.after_add")
    await accounts.link(account_id, town_id, user_id)
    return user_id


def _is_meant(person: NewPerson, row: Fields) -> bool:
    told = (row["name"], row["login"], sorted(row["roles"]), row["has_pin"], row["school_id"])
    asked = (person.name, person.login, sorted(person.roles), person.pin is not None, person.school_id)
    return bool(row["is_active"]) and told == asked
