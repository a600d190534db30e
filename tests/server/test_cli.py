"""The command line: help and wrong use in this process, everything else on one real `tallystick up`."""

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

import psycopg
import pytest
from typer.testing import CliRunner

from server.cli.app import app
from tests.support.stack import scratch_directory

COMMANDS = [
    *("up", "migrate", "seed", "serve", "worker", "verify", "town add", "town list", "user add", "warehouse add"),
    *("device enrol", "device list", "device suspend", "device revoke"),
]
NOTHING_SET = {"DATABASE_URL": "", "REDIS_URL": "", "TALLYSTICK_DATA_DIR": "", "NO_COLOR": "1", "COLUMNS": "200"}
STOP_SECONDS_MAX = 10
WITHOUT_TYPER = "import sys; sys.modules['typer'] = None; from server.cli import main; main()"


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


def processes() -> dict[int, int]:
    """Every process by its id, with its parent's."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True, text=True).stdout
    return {int(pid): int(parent) for pid, parent in map(str.split, listed.splitlines())}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"], env=NOTHING_SET)

    assert (result.exit_code, f"$ tallystick {command}" in result.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("no-such-command", "No such command"),
        ("town add Douglas", "--currency"),
        ("town list --data nowhere", "no tallystick is up on nowhere and DATABASE_URL is not set"),
        ("device enrol --town Douglas", "--role"),
        ("up --port 70000", "--port"),
        ("up --seed everything", "--seed"),
    ],
)
def test_wrong_use_is_said_and_exits_2(arguments: str, said: str) -> None:
    result = CliRunner().invoke(app, arguments.split(), env=NOTHING_SET)

    assert (result.exit_code, said in result.stderr) == (2, True), result.output


def test_a_wrong_setting_is_one_line_that_names_it() -> None:
    result = CliRunner().invoke(app, ["town", "list"], env=NOTHING_SET | {"DATABASE_URL": "mysql://localhost"})

    assert (result.exit_code, result.stderr.count("\n"), "DATABASE_URL is wrong" in result.stderr) == (2, 1, True)


def test_a_fault_has_its_traceback_with_debug_only() -> None:
    told = tallystick("town", "list", "--data", "nowhere")
    traced = tallystick("--debug", "town", "list", "--data", "nowhere")

    assert "Traceback" not in told.stderr
    assert "Traceback" in traced.stderr


def test_without_the_server_extra_the_command_says_what_to_install() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT_TYPER], capture_output=True, check=False, text=True)

    assert (run.returncode, run.stderr) == (
        1,
        "tallystick: typer is not installed: pip install 'tallystick[server,embedded]'\n",
    )


def test_the_ready_file_tells_how_to_reach_the_system_and_is_for_its_owner_only(up: Up) -> None:
    with psycopg.connect(up.ready["database_url"]) as connection:
        assert connection.execute("SELECT count(*) FROM tallystick.town_names").fetchone() == (3,)
    assert up.ready | {"database_url": None, "redis_url": None} == {
        "url": up.ready["url"],
        "admin_email": None,
        "admin_password": None,
        "database_url": None,
        "redis_url": None,
        "pid": up.process.pid,
    }
    assert up.ready_file.stat().st_mode & 0o777 == 0o600


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("town add X --currency XXQ", "currency 'XXQ' is not an active ISO 4217 code"),
        ("device list --town Atlantis", "there is no town 'Atlantis': there is"),
        ("device enrol --town Germany --role driver", "a driver device needs a user"),
        ("device enrol --town Germany --role driver --user nobody", "there is no user 'nobody'"),
        ("user add --town Germany --name A --login a --role king", "'king'"),
        ("user add --town Germany --name A --login a --role driver --pin 12", "A PIN has 4 to 12 digits."),
        ("migrate --to 9999", "Can't locate revision identified by '9999'"),
    ],
)
def test_what_the_server_does_not_know_or_allow_is_one_line_and_exits_2(up: Up, arguments: str, said: str) -> None:
    done = up.run(*arguments.split())

    assert (done.returncode, done.stdout, said in done.stderr) == (2, "", True), done.stderr
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
    assert len(children) == 8  # API, worker, PostgreSQL, Redis, and a guard for each

    up.process.send_signal(signal.SIGTERM)

    assert up.process.wait(STOP_SECONDS_MAX) == 0
    assert children & processes().keys() == set()
    assert not up.ready_file.exists()
