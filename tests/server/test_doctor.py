"""`tallystick doctor` and `tallystick metrics` on a stack with two API processes, and on ones that ail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.stack import Stack
from tests.support.stack import scratch_directory

ASKED = 24
NOTHING_SET = {"DATABASE_URL": "", "REDIS_URL": "", "TALLYSTICK_DATA_DIR": "", "NO_COLOR": "1", "COLUMNS": "200"}
NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with scratch_directory() as directory, Stack.start(directory / "data", api_processes=2) as running:
        yield running


def tallystick(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server.cli", *arguments]
    environ = os.environ | NOTHING_SET | environment
    return subprocess.run(command, env=environ, capture_output=True, check=False, text=True)


def examined(*arguments: str, **environment: str) -> tuple[int, dict[str, str]]:
    """The exit status of the doctor, and the level of each check."""
    done = tallystick("doctor", "--json", *arguments, **environment)
    said = json.loads(done.stdout)
    assert said["good"] == (done.returncode == 0)
    return done.returncode, {finding["check"]: finding["level"] for finding in said["findings"]}


def samples(stack: Stack) -> list[Any]:
    """What the page says, asked of whichever process the connection comes to."""
    headers = {"Authorization": f"Bearer {stack.settings_environment['TALLYSTICK_METRICS_TOKEN']}"}
    request = urllib.request.Request(f"{stack.url}/metrics", headers=headers)  # noqa: S310 - our own http:// URL
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
        text = answer.read().decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def processes(stack: Stack) -> dict[int, str]:
    """The processes that have said what memory they hold, by their ids."""
    found = [sample for sample in samples(stack) if sample.name == "tallystick_process_resident_bytes"]
    assert all(sample.value > 10_000_000 for sample in found)
    return {int(sample.labels["pid"]): sample.labels["process"] for sample in found}


def test_a_running_stack_is_well(stack: Stack) -> None:
    status, levels = examined("--data", str(stack.data_dir))

    assert status == 0
    assert {check for check, level in levels.items() if level != "ok"} <= {"role"}
    assert levels.keys() >= {"settings", "key", "signer", "postgresql", "schema", "redis", "disk", "clock", "api"}
    assert levels.keys() >= {"durability", "fences", "outbox", "towns", "worker", "scheduler"}


def test_for_a_person_every_check_is_a_line(stack: Stack) -> None:
    done = tallystick("doctor", "--data", str(stack.data_dir))

    assert done.returncode == 0
    assert any(line.split()[:2] == ["ok", "postgresql"] for line in done.stdout.splitlines())
    assert " 0 fail" in done.stderr


@pytest.mark.parametrize(
    ("changed", "ailing"),
    [
        ({"REDIS_URL": NOBODY}, {"redis": "warn"}),
        ({"TALLYSTICK_PUBLIC_URL": "http://127.0.0.1:1"}, {"api": "warn"}),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/nothing"}, {"postgresql": "fail"}),
        ({"TALLYSTICK_SERVER_KEY_FILE": "/nowhere/server.key"}, {"key": "fail"}),
        ({"TALLYSTICK_CARD_BASE_URL": "http://127.0.0.1:1"}, {"cards": "fail"}),
        ({"TALLYSTICK_LOG_LEVEL": "loud"}, {"settings": "fail"}),
    ],
)
def test_what_ails_is_found(stack: Stack, changed: dict[str, str], ailing: dict[str, str]) -> None:
    status, levels = examined(**stack.settings_environment | changed)

    assert (status, levels | ailing) == (1 if "fail" in ailing.values() else 0, levels)


def test_a_database_without_our_schema_is_found(stack: Stack) -> None:
    empty = stack.database_url.rpartition("/")[0] + "/postgres"

    status, levels = examined(**stack.settings_environment | {"DATABASE_URL": empty})

    assert (status, levels["schema"], "outbox" in levels) == (1, "fail", False)


def test_another_key_than_the_journals_is_found(stack: Stack, tmp_path: Path) -> None:
    assert tallystick("town", "add", "Ramsey", "--currency", "GBP", "--data", str(stack.data_dir)).returncode == 0
    listed = tallystick(
        "town", "list", **stack.settings_environment | {"TALLYSTICK_DATA_DIR": str(tmp_path)}
    )  # makes a key of its own there
    assert listed.returncode == 0

    status, levels = examined(**stack.settings_environment | {"TALLYSTICK_DATA_DIR": str(tmp_path)})
    assert (status, levels["key"], levels["signer"]) == (1, "ok", "fail")

    (tmp_path / "server.key").chmod(0o640)
    _, levels = examined(**stack.settings_environment | {"TALLYSTICK_DATA_DIR": str(tmp_path)})
    assert levels["key"] == "fail"


def test_the_doctor_without_a_server_says_so_and_exits_1(tmp_path: Path) -> None:
    status, levels = examined("--data", str(tmp_path))

    assert (status, levels) == (1, {"settings": "fail"})


def test_whichever_process_is_asked_the_figures_are_those_of_all(stack: Stack) -> None:
    for _ in range(ASKED):
        urllib.request.urlopen(f"{stack.url}/healthz", timeout=10).close()  # noqa: S310 - our own http:// URL

    counted = [
        sample.value
        for _ in range(ASKED)
        for sample in samples(stack)
        if sample.name == "tallystick_requests_total" and sample.labels["route"] == "/healthz"
    ]

    assert counted == [ASKED] * ASKED
    assert sorted(processes(stack).values()) == ["api", "api", "scheduler", "worker"]


def test_what_a_dead_process_said_of_itself_goes_and_what_it_counted_stays(stack: Stack) -> None:
    before, killed = len(processes(stack)), stack.worker_pid
    os.kill(killed, signal.SIGKILL)
    stack._worker._process.wait()  # type: ignore[union-attr]
    (stack.data_dir / "metrics" / f"counter_{killed}.db").stat()

    assert stack.restart_fallen() == ["worker"]

    assert killed not in processes(stack)
    assert before - 1 <= len(processes(stack)) <= before
    assert (stack.data_dir / "metrics" / f"counter_{killed}.db").exists()


def test_the_metrics_command_prints_the_page(stack: Stack) -> None:
    done = tallystick("metrics", "--data", str(stack.data_dir))

    assert (done.returncode, "tallystick_database_up 1.0" in done.stdout) == (0, True), done.stderr


def test_the_token_stays_over_restarts_and_is_for_this_account_only(stack: Stack) -> None:
    path = stack.data_dir / "metrics.token"

    assert path.read_text() == stack.settings_environment["TALLYSTICK_METRICS_TOKEN"]
    assert path.stat().st_mode & 0o777 == 0o600
