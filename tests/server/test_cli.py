"""The command line on one real `tallystick up`: processes, but for wrong use, which is told within this one.

What it says without a server is in `test_commands`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from typer.testing import CliRunner

from server.cli.app import app_for
from tests.support.stack import scratch_directory

NOTHING_SET = {"DATABASE_URL": "", "REDIS_URL": "", "TALLYSTICK_DATA_DIR": "", "NO_COLOR": "1", "COLUMNS": "200"}
STOP_SECONDS_MAX = 10


@dataclass(frozen=True, kw_only=True)
class Up:
    """A running `tallystick up` and what it has told."""

    process: subprocess.Popen[str]
    data_dir: Path
    ready_file: Path
    ready: dict[str, Any]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return tallystick(*arguments, "--data", str(self.data_dir))

    def good(self, *arguments: str) -> Any:
        """What a command with `--json` says, which must find no problem."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with scratch_directory() as directory:
        ready_file = directory / "ready.json"
        command = [sys.executable, "-m", "server.cli", "up", "--port", "0", "--ready-file", str(ready_file)]
        with subprocess.Popen(
            [*command, "--data", str(directory / "data")],
            env=os.environ | NOTHING_SET,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said == "Tallystick is up.\n"
            ready = json.loads(ready_file.read_text())
            try:
                yield Up(process=process, data_dir=directory / "data", ready_file=ready_file, ready=ready)
            finally:
                process.terminate()


def tallystick(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server.cli", *arguments]
    return subprocess.run(command, env=os.environ | NOTHING_SET, capture_output=True, check=False, text=True)


def sign_in(up: Up, email: str, password: str) -> httpx2.Response:
    return httpx2.post(f"{up.ready['url']}/v1/sessions", json={"email": email, "password": password})


def processes() -> dict[int, int]:
    """Every process by its id, with its parent's."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True, text=True).stdout
    return {int(pid): int(parent) for pid, parent in map(str.split, listed.splitlines())}


def test_a_fault_has_its_traceback_with_debug_only() -> None:
    told = tallystick("town", "list", "--data", "nowhere")
    traced = tallystick("--debug", "town", "list", "--data", "nowhere")

    assert "Traceback" not in told.stderr
    assert "Traceback" in traced.stderr


def test_the_ready_file_tells_how_to_reach_the_system_and_is_for_its_owner_only(up: Up) -> None:
    with psycopg.connect(up.ready["database_url"]) as connection:
        assert connection.execute("SELECT count(*) FROM tallystick.town_names").fetchone() == (3,)
    assert up.ready | {"database_url": None, "redis_url": None} == {
        "url": up.ready["url"],
        "admin_email": "admin@localhost",
        "admin_password": up.ready["admin_password"],
        "database_url": None,
        "redis_url": None,
        "pid": up.process.pid,
    }
    assert up.ready_file.stat().st_mode & 0o777 == 0o600


def test_the_api_describes_itself_where_no_other_machine_is_let_in(up: Up) -> None:
    described = httpx2.get(f"{up.ready['url']}/openapi.json").raise_for_status().json()
    assert "/v1/towns/{town_id}/exchange" in described["paths"]


def test_the_admin_of_the_ready_file_signs_in_and_has_every_sample_town(up: Up) -> None:
    session = sign_in(up, up.ready["admin_email"], up.ready["admin_password"]).json()

    assert [(town["name"], town["roles"]) for town in session["towns"]] == [
        (name, ["admin"]) for name in ("EIRE", "Germany", "United Kingdom")
    ]
    kept = up.data_dir / "admin.password"
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (up.ready["admin_password"], 0o600)


def test_one_account_works_in_two_towns_and_loses_one_with_its_user(up: Up, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("a password of somebody\nand what is not read\n")
    person = ("--name", "Jo Cain", "--login", "jo", "--role", "dispatcher", "--email", "Jo@Example.org")
    up.good("user", "add", "--town", "EIRE", *person, "--password-file", str(password))
    jo = up.good("user", "add", "--town", "Germany", *person)["id"]

    listed = {user["id"]: user for user in up.good("user", "list", "--town", "Germany")}
    towns = sign_in(up, "jo@example.org", "a password of somebody").json()["towns"]
    up.run("user", "deactivate", "jo", "--town", "Germany")
    towns_left = sign_in(up, "jo@example.org", "a password of somebody").json()["towns"]

    assert (listed[jo]["email"], listed[jo]["roles"]) == ("jo@example.org", ["dispatcher"])
    assert [town["name"] for town in towns] == ["EIRE", "Germany"]
    assert [town["name"] for town in towns_left] == ["EIRE"]


def test_the_operator_gives_somebody_a_new_password(up: Up, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("the password at first")
    person = ("--name", "Kim", "--login", "kim", "--role", "admin", "--email", "kim@example.org")
    up.good("user", "add", "--town", "EIRE", *person, "--password-file", str(password))
    password.write_text("the password from now on")

    done = up.run("user", "password", "kim@example.org", "--password-file", str(password))

    assert (done.returncode, done.stdout) == (0, "kim@example.org has a new password.\n")
    old, new = (sign_in(up, "kim@example.org", f"the password {when}") for when in ("at first", "from now on"))
    assert (old.status_code, new.status_code) == (401, 201)


def test_a_town_with_people_and_a_warehouse_can_enrol_devices(up: Up) -> None:
    town = up.good("town", "add", "Douglas", "--currency", "GBP")["id"]
    up.good(
        "user", "add", "--town", "Douglas", "--name", "Ada Kelly", "--login", "ada", "--role", "driver", "--pin", "2580"
    )
    up.good("warehouse", "add", "--town", town, "--name", "North Quay")

    van = up.good("device", "enrol", "--town", "douglas", "--role", "driver", "--user", "ada")
    tablet = up.good("device", "enrol", "--town", town, "--role", "warehouse_staff", "--warehouse", "North Quay")

    assert {van["town"], tablet["town"]} == {town}
    assert {van["server_url"], tablet["server_url"]} == {up.ready["url"]}
    assert len({van["code"], tablet["code"]}) == 2


def test_a_device_that_is_suspended_says_so_in_the_list(up: Up) -> None:
    before = up.good("device", "list", "--town", "EIRE")

    done = up.run("device", "suspend", "server", "--town", "EIRE", "--reason", "a rehearsal")

    assert (done.returncode, done.stdout) == (0, "server is suspended.\n")
    after = up.good("device", "list", "--town", "EIRE")
    changed = {"status": "suspended", "reason": "a rehearsal", "change_sets": before[0]["change_sets"] + 1}
    assert after == [before[0] | changed]


def test_the_office_sends_an_order_out_with_a_driver_and_calls_it_off(up: Up) -> None:
    up.good("seed", "--invoices", "3", "--towns", "2")
    (before,) = up.good("order", "list", "--town", "EIRE")
    number = before["number"]
    up.good("user", "add", "--town", "EIRE", "--name", "Dana", "--login", "dana", "--role", "driver")

    def order(command: str, *options: str) -> tuple[int, str]:
        done = up.run("order", command, number, "--town", "EIRE", *options)
        return done.returncode, done.stdout + done.stderr

    assert order("withdraw") == (2, f"tallystick: order {number} has no driver\n")
    assert order("assign", "--driver", "dana") == (0, f"Order {number} goes with dana.\n")
    assert order("assign", "--driver", "dana") == (
        1,
        f"tallystick: Order {number} already has a driver; reassign it instead.\n",
    )
    assert order("assign", "--driver", "dana", "--instead") == (0, f"Order {number} goes with dana.\n")
    assert up.good("order", "list", "--town", "EIRE") == [before | {"driver": "Dana"}]
    assert order("withdraw") == (0, f"Order {number} has no driver any more.\n")
    assert order("cancel", "--reason", "asked for") == (0, f"Order {number} is called off.\n")
    assert up.good("order", "list", "--town", "EIRE") == [before | {"status": "CANCELLED"}]


def test_somebody_who_left_gets_no_device(up: Up) -> None:
    up.good("user", "add", "--town", "EIRE", "--name", "Finn", "--login", "finn", "--role", "driver")

    done = up.run("user", "deactivate", "finn", "--town", "EIRE")
    enrolled = up.run("device", "enrol", "--town", "EIRE", "--role", "driver", "--user", "finn")

    assert (done.returncode, done.stdout) == (0, "finn may not work here any more.\n")
    assert (enrolled.returncode, "Finn does not work in this town as driver" in enrolled.stderr) == (2, True)


def test_a_town_is_told_what_it_decides_for_itself_and_keeps_what_is_not_named(up: Up) -> None:
    first = up.run("town", "set", "EIRE", "--payment-max", "5000")
    second = up.run("town", "set", "EIRE", "--count-correction-max", "9", "--return-days", "3")
    third = up.run(
        "town",
        "set",
        "EIRE",
        "--offline-days",
        "3",
        "--cash-ceiling",
        "2000",
        "--no-sells-online",
        "--unpaid-minutes",
        "45",
    )
    nothing = up.run("town", "set", "EIRE")

    assert (first.returncode, first.stdout) == (0, "In EIRE one payment is at most 5,000.\n")
    assert second.stdout.splitlines() == [
        "In EIRE a count corrects up to 9 pieces before somebody is asked.",
        "In EIRE goods that did not come back are missed after 3 days.",
    ]
    assert third.stdout.splitlines() == [
        "In EIRE a device may take money for 3 days without the server.",
        "In EIRE a device may take 2,000 in cash before it has synced.",
        "In EIRE customers can order: False.",
        "In EIRE orders by mobile money or card that are not paid are given up after 45 minutes.",
    ]
    assert (nothing.returncode, nothing.stdout) == (2, "")
    with psycopg.connect(up.ready["database_url"]) as connection:
        settings = "SELECT settings FROM tallystick.towns WHERE name = 'EIRE'"
        expected = {
            "payment_units_max": 5000,
            "count_correction_max": 9,
            "return_days_max": 3,
            "offline_days": 3,
            "cash_ceiling_units": 2000,
            "sells_online": False,
            "unpaid_minutes_max": 45,
        }
        assert connection.execute(settings).fetchone() == (expected,)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("town add X --currency XXQ", "currency 'XXQ' is not an active ISO 4217 code"),
        ("device list --town Atlantis", "there is no town 'Atlantis': there is"),
        ("device enrol --town Germany --role driver", "a driver device needs a user"),
        ("device enrol --town Germany --role driver --user nobody", "there is no user 'nobody'"),
        ("user add --town Germany --name A --login a --role king", "'king'"),
        ("user add --town Germany --name A --login a --role driver --pin 12", "A PIN has 4 to 12 digits."),
        ("user add --town Germany --name A --login a --role driver --email a@b", "a new one needs a password"),
        ("user add --town Germany --name A --login a --role driver --email a", "This is no e-mail address."),
        (
            "user add --town Germany --name A --login a --role school_office --school North",
            "there is no school 'North'",
        ),
        ("user password nobody@example.org --password-file /dev/null", "There is no account with this e-mail address."),
        ("town set Germany --payment-max 0", "payment_units_max is 0"),
        ("order cancel 0 --town Germany --reason r", "there is no order '0'"),
        ("migrate --to 9999", "Can't locate revision identified by '9999'"),
    ],
)
def test_what_the_server_does_not_know_or_allow_is_one_line_and_exits_2(up: Up, arguments: str, said: str) -> None:
    words = arguments.split()
    done = CliRunner().invoke(app_for(words), [*words, "--data", str(up.data_dir)], env=NOTHING_SET)

    assert (done.exit_code, done.stdout, said in done.stderr) == (2, "", True), done.stderr
    assert done.stderr.count("\n") == 1


def test_a_second_up_on_the_same_data_is_told_where_the_first_is(up: Up) -> None:
    done = up.run("up", "--port", "0")

    assert (done.returncode, f"already up at {up.ready['url']} (pid {up.process.pid})" in done.stderr) == (2, True)


def test_seeding_again_changes_nothing(up: Up) -> None:
    before = up.good("town", "list")

    assert [town["added"] for town in up.good("seed")["towns"]] == [{}, {}, {}]
    assert up.good("town", "list") == before


def test_verify_finds_nothing_in_a_sound_system(up: Up) -> None:
    reports = up.good("verify")

    assert {report["name"] for report in reports} >= {"Germany", "EIRE", "United Kingdom"}
    assert [report["findings"] for report in reports if not report["good"]] == []


def test_verify_says_the_same_of_large_towns_which_several_processes_look_at(up: Up) -> None:
    always = "from server.cli import main, verifying; verifying.SMALL_VERSIONS = 0; main()"
    command = [sys.executable, "-c", always, "verify", "--data", str(up.data_dir), "--json"]
    assert json.loads(subprocess.check_output(command, env=os.environ | NOTHING_SET)) == up.good("verify")


def test_verify_names_a_stock_level_that_somebody_has_changed_by_hand(up: Up) -> None:
    change = "UPDATE tallystick.stock_levels SET on_hand = on_hand + %s WHERE id = %s"
    with psycopg.connect(up.ready["database_url"], autocommit=True) as connection:
        row = connection.execute(
            "SELECT l.id::text FROM tallystick.stock_levels l JOIN tallystick.town_names USING (town_id) "
            "WHERE name = 'Germany' LIMIT 1"
        ).fetchone()
        assert row is not None
        connection.execute(change, [1, row[0]])
        told, listed = up.run("verify"), up.run("verify", "--town", "Germany", "--json")
        connection.execute(change, [-1, row[0]])

    assert (told.returncode, listed.returncode) == (1, 1)
    assert f"stock_level {row[0]}" in told.stdout
    findings = json.loads(listed.stdout)[0]["findings"]
    assert [finding["where"] for finding in findings] == [f"stock_level {row[0]}"]


def test_sigterm_stops_everything_within_ten_seconds_and_leaves_no_strays(up: Up) -> None:
    children = {pid for pid, parent in processes().items() if parent == up.process.pid}
    assert len(children) == 10  # API, worker, scheduler, PostgreSQL, Redis, and a guard for each

    up.process.send_signal(signal.SIGTERM)

    assert up.process.wait(STOP_SECONDS_MAX) == 0
    assert children & processes().keys() == set()
    assert not up.ready_file.exists()
