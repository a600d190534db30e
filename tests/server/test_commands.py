"""The command line without a server: help, wrong use, and what a command is started with."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from server.cli.app import MODULES, app_for, app_with, whole_app

COMMANDS = [
    *(
        "up",
        "migrate",
        "seed",
        "serve",
        "worker",
        "scheduler",
        "doctor",
        "metrics",
        "verify",
        "town add",
        "town list",
        "town set",
        "user add",
    ),
    *(
        "user list",
        "user deactivate",
        "user password",
        "warehouse add",
        "device enrol",
        "device list",
        "device suspend",
        "device revoke",
        "device sealed",
    ),
    *("order list", "order assign", "order withdraw", "order cancel"),
    *("rescue", "quarantine list", "quarantine show", "quarantine retry", "quarantine refuse"),
    *("key list", "key rotate"),
    *("journal export", "journal check"),
    "receipt verify",
    "sandbox",
    *("jobs list", "jobs retry", "statements rebuild"),
]
NOTHING_SET = {"DATABASE_URL": "", "REDIS_URL": "", "TALLYSTICK_DATA_DIR": "", "NO_COLOR": "1", "COLUMNS": "200"}
LOADED_BY_A_WORKER = "import sys; from server.cli.app import app_for; app_for(['worker']); print(*sys.modules)"
WITHOUT_TYPER = "import sys; sys.modules['typer'] = None; from server.cli import main; main()"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_an_example(command: str) -> None:
    result = CliRunner().invoke(whole_app(), [*command.split(), "--help"], env=NOTHING_SET)

    assert (result.exit_code, f"$ tallystick {command}" in result.stdout) == (0, True)


@pytest.mark.parametrize("module", MODULES)
def test_a_command_is_in_the_module_that_it_is_looked_for_in(module: str) -> None:
    only = app_with([module])
    said = [str(group.name) for group in only.registered_groups]
    said += [command.name or command.callback.__name__ for command in only.registered_commands if command.callback]

    assert sorted(said) == sorted(MODULES[module])


def test_what_names_no_command_is_told_all_of_them() -> None:
    of_all = {name for names in MODULES.values() for name in names}
    shown = CliRunner().invoke(app_for(["--debug", "--help"]), ["--debug", "--help"], env=NOTHING_SET).stdout

    assert {line.split()[1] for line in shown.splitlines() if line.startswith("│ ")} >= of_all


def test_a_worker_is_started_without_what_answers_http() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED_BY_A_WORKER], capture_output=True, check=True, text=True)

    assert "server.worker" in done.stdout.split()
    assert set(done.stdout.split()).isdisjoint({"fastapi", "uvicorn", "server.api", "server.cli.bench"})


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
    result = CliRunner().invoke(whole_app(), arguments.split(), env=NOTHING_SET)

    assert (result.exit_code, said in result.stderr) == (2, True), result.output


def test_a_wrong_setting_is_one_line_that_names_it() -> None:
    result = CliRunner().invoke(whole_app(), ["town", "list"], env=NOTHING_SET | {"DATABASE_URL": "mysql://localhost"})

    assert (result.exit_code, result.stderr.count("\n"), "DATABASE_URL is wrong" in result.stderr) == (2, 1, True)


def test_without_the_server_extra_the_command_says_what_to_install() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT_TYPER], capture_output=True, check=False, text=True)

    assert (run.returncode, run.stderr) == (
        1,
        "tallystick: typer is not installed: pip install 'tallystick[server,embedded]'\n",
    )
