"""`user`: who works in a town, and with which account somebody of the office signs in."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from server.application.commands.accounts import PasswordNeeded, account_for, set_password
from server.application.commands.add_person import add_person
from server.application.commands.administer import NewPerson, add_user, have_done
from server.application.queries.town_rows import find_row, find_town, rows_of
from server.bootstrap import Core
from server.cli.connect import DataDir, with_server
from server.cli.output import AsJson, examples, out, print_id, print_json, print_listed
from server.cli.towns import InTown
from sync.modules.identity import ROLES, DeactivateUser

STDIN = Path("-")
SCHOOL_OFFICE = "school_office"
PASSWORD_FILE_CHARACTERS_MAX = 4096

PasswordFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The password, on the first line; `-` is standard input. Not given: it is asked for.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the group."""
    user = typer.Typer(no_args_is_help=True, help="People who work in a town, and how they sign in.")
    user.command(
        "add",
        epilog=examples(
            "tallystick user add --town Douglas --name 'Ada Kelly' --login ada --role driver --pin 1234",
            "tallystick user add --town Douglas --name 'Jo Cain' --login jo --role dispatcher --email jo@example.org",
        ),
    )(_add)
    user.command("list", epilog=examples("tallystick user list --town Douglas"))(_list)
    user.command("deactivate", epilog=examples("tallystick user deactivate ada --town Douglas"))(_deactivate)
    user.command(
        "password",
        epilog=examples(
            "tallystick user password jo@example.org",
            "tallystick user password jo@example.org --password-file new.txt --drop-second-factor",
        ),
    )(_password)
    app.add_typer(user, name="user")


def _add(
    *,
    town: InTown,
    name: Annotated[str, typer.Option(help="The person's name.")],
    login: Annotated[str, typer.Option(help="A short name for the person, in this town.")],
    role: Annotated[list[str], typer.Option(metavar="ROLE", help=f"One or more of: {', '.join(ROLES)}.")],
    pin: Annotated[str | None, typer.Option(help="4 to 12 digits that open a shared device.")] = None,
    school: Annotated[
        str | None, typer.Option(help="The school whose office the person works in, by name or id; without it all.")
    ] = None,
    email: Annotated[
        str | None, typer.Option(help="Sign in with this address; one account may work in several towns.")
    ] = None,
    password_file: PasswordFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Add a person to a town and print the id; with `--email` the person can sign in.

    A new account needs a password. One that is there already keeps its own. Run again after it was cut off, it finds
    the person and gives the account.
    """

    async def account(core: Core) -> str | None:
        if email is None:
            return None
        password = _read(password_file) if password_file else None
        try:
            return await account_for(core.people, email, password)
        except PasswordNeeded:
            if not sys.stdin.isatty():
                raise
            return await account_for(core.people, email, _ask(email))

    async def add(core: Core) -> str:
        town_id = await find_town(core.towns, town)
        school_id = await find_row(core.evidence, town_id, "school", school) if school else None
        account_id = await account(core)  # before the user: what is wrong with it must not leave half of it behind
        person = NewPerson(name=name, login=login, roles=tuple(role), pin=pin, school_id=school_id)
        if email is None or account_id is None:
            return await add_user(person, town_id=town_id, appliers=core.appliers, system=core.system)
        return await add_person(
            person,
            town_id=town_id,
            account_id=account_id,
            email=email,
            accounts=core.people.accounts,
            evidence=core.evidence,
            appliers=core.appliers,
            system=core.system,
        )

    print_id(with_server(data, add), as_json=as_json)


def _list(*, town: InTown, data: DataDir = None, as_json: AsJson = False) -> None:
    """The people of a town, by name: what they are, for which school, and with which e-mail address they sign in."""

    async def read(core: Core) -> list[dict[str, Any]]:
        town_id = await find_town(core.towns, town)
        emails = await core.people.accounts.emails(town_id)
        users = await rows_of(core.evidence, town_id, "user")
        schools = await rows_of(core.evidence, town_id, "school")
        return [
            {
                "id": user_id,
                **{field: row[field] for field in ("name", "login", "roles", "is_active", "has_pin")},
                "school_id": row.get("school_id"),  # before there were schools, nobody had one
                "school": schools[row["school_id"]]["name"] if row.get("school_id") else None,
                "email": emails.get(user_id),
            }
            for user_id, row in sorted(users.items(), key=lambda item: (item[1]["name"], item[0]))
        ]

    users = with_server(data, read)
    if as_json:
        print_json(users)
        return
    print_listed(
        ("name", "login", "roles", "school", "works here", "signs in as"),
        {one["id"]: _shown(one) for one in users},
        empty="Nobody works here yet: tallystick user add",
    )


def _shown(one: Mapping[str, Any]) -> Sequence[str]:
    works = "[green]yes[/]" if one["is_active"] else "[red]no[/]"
    school = one["school"] or ("all" if SCHOOL_OFFICE in one["roles"] else "-")
    told = (one["name"], one["login"], ", ".join(one["roles"]), school)
    return (*map(escape, told), works, escape(one["email"] or "-"))


def _deactivate(
    user: Annotated[str, typer.Argument(metavar="USER", help="The person, by name, login or id.")],
    *,
    town: InTown,
    data: DataDir = None,
) -> None:
    """Let a person work here no more; what was recorded before stays, and what is yet to come in is looked at.

    An account loses this town at once, and keeps its others.
    """

    async def deactivate(core: Core) -> str:
        town_id = await find_town(core.towns, town)
        user_id = await find_row(core.evidence, town_id, "user", user)
        return await have_done(core.appliers, town_id, DeactivateUser(user=user_id))

    with_server(data, deactivate)
    out.print(f"{escape(user)} may not work here any more.")


def _password(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The address that the person signs in with.")],
    *,
    password_file: PasswordFile = None,
    drop_second_factor: Annotated[
        bool, typer.Option("--drop-second-factor", help="Also for somebody who has lost the second factor.")
    ] = False,
    data: DataDir = None,
) -> None:
    """Give somebody a new password; every session of the account ends."""

    async def change(core: Core) -> None:
        password = _read(password_file) if password_file else _ask(email)
        await set_password(core.people, email, password, drops_second_factor=drop_second_factor)

    with_server(data, change)
    out.print(f"{escape(email)} has a new password.")


def _read(path: Path) -> str:
    if path == STDIN:
        return sys.stdin.readline().rstrip("\r\n")
    with path.open(encoding="utf-8") as file:
        return file.read(PASSWORD_FILE_CHARACTERS_MAX).partition("\n")[0].rstrip("\r")


def _ask(email: str) -> str:
    return str(typer.prompt(f"Password for {email}", hide_input=True, confirmation_prompt=True, err=True))
