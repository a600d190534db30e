"""Adding somebody who can sign in is two things; whoever is cut off between them runs the same command again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import orjson
import pytest

from tests.support.failpoints import KILLED, failpoints
from tests.support.site import TOWN, Site, running_site, tallystick

PASSWORD = "a password of somebody"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD)
    return path


def person(who: str, password: Path, /, **changes: str) -> list[str]:
    """The words that add somebody."""
    said = {"town": TOWN, "name": who, "login": who, "role": "dispatcher", "email": f"{who}@example.org"} | changes
    options = [word for option, value in said.items() for word in (f"--{option}", value)]
    return ["user", "add", *options, "--password-file", str(password)]


def people(site: Site, name: str) -> list[tuple[str, str | None]]:
    """(id, e-mail address) of everybody of this name."""
    listed = orjson.loads(tallystick(site, "user", "list", "--town", TOWN, "--json").stdout)
    return [(one["id"], one["email"]) for one in listed if one["name"] == name]


def towns_of(site: Site, email: str) -> int:
    """In how many towns somebody is who signs in."""
    said = {"email": email, "password": PASSWORD}
    return len(httpx2.post(f"{site.stack.url}/v1/sessions", json=said).json()["towns"])


@pytest.mark.parametrize("failpoint", failpoints("server", "person"))
def test_a_command_killed_between_person_and_account_is_finished_by_running_it_again(
    site: Site, password: Path, failpoint: str
) -> None:
    words = [*person("Jo", password), "--data", str(site.stack.data_dir)]
    quiet = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    killed = subprocess.run(
        [sys.executable, "-m", "server.cli", *words],
        env=quiet | {"TALLYSTICK_FAILPOINT": failpoint},
        check=False,
        capture_output=True,
    )
    assert killed.returncode == KILLED
    [(user_id, email)] = people(site, "Jo")
    assert (email, towns_of(site, "jo@example.org")) == (None, 0)

    for _ in range(2):
        again = tallystick(site, *person("Jo", password))

        assert (again.exit_code, again.stdout.strip()) == (0, user_id)
        assert people(site, "Jo") == [(user_id, "jo@example.org")]
    assert towns_of(site, "jo@example.org") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Another"},
        {"login": "another"},
        {"role": "admin"},
        {"pin": "2580"},
    ],
)
def test_an_account_that_is_somebody_elses_here_makes_nobody(
    site: Site, password: Path, change: dict[str, str]
) -> None:
    name = f"Kim {next(iter(change))}"
    email = f"kim.{next(iter(change))}@example.org"
    assert tallystick(site, *person(name, password, email=email)).exit_code == 0
    before = site.stored("SELECT count(*) FROM tallystick.users")

    other = tallystick(site, *person(name, password, email=email, **change))

    assert (other.exit_code, "account already" in other.stderr) == (2, True)
    assert site.stored("SELECT count(*) FROM tallystick.users") == before


def test_somebody_of_the_same_name_with_an_account_is_somebody_else(site: Site, password: Path) -> None:
    for email in ("ann@example.org", "other.ann@example.org"):
        assert tallystick(site, *person("Ann", password, email=email)).exit_code == 0

    assert {email for _, email in people(site, "Ann")} == {"ann@example.org", "other.ann@example.org"}


def test_somebody_who_has_left_is_not_the_one_that_is_meant(site: Site, password: Path) -> None:
    added = tallystick(site, "user", "add", "--town", TOWN, "--name", "Eve", "--login", "Eve", "--role", "dispatcher")
    tallystick(site, "user", "deactivate", added.stdout.strip(), "--town", TOWN)

    again = tallystick(site, *person("Eve", password))

    assert again.exit_code == 0
    assert set(people(site, "Eve")) == {(added.stdout.strip(), None), (again.stdout.strip(), "eve@example.org")}
