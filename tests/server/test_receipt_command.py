"""`tallystick receipt verify`: another process that has a code and the public key, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sync.engine.chain import encode_bytes
from tests.sync.engine.test_receipts import DIGEST, KEY, OTHER_SERVER, OTHER_TOWN, SERVER, TOWN, code, with_byte

GOOD, PROBLEM, WRONG_USE = 0, 1, 2
NOWHERE = {"DATABASE_URL": "", "REDIS_URL": "", "TALLYSTICK_DATA_DIR": "", "NO_COLOR": "1", "COLUMNS": "200"}


def verify(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, in an empty folder, with no server anywhere."""
    home = Path(__file__).parents[2]
    environment = {**os.environ, **NOWHERE, "PYTHONPATH": str(home)}
    command = [sys.executable, "-m", "server.cli", "receipt", "verify", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def told(folder: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    done = verify(folder, *arguments, "--key", SERVER.public_key, "--json")
    return done.returncode, json.loads(done.stdout)


def test_a_good_receipt_is_good_where_there_is_no_server(tmp_path: Path) -> None:
    status, answers = told(tmp_path, code(), "--town", TOWN)

    assert status == GOOD
    assert [(one["is_good"], one["number"], one["amounts"], one["hash"]) for one in answers] == [
        (True, "HC29HZ-000017", ["12.50 GBP"], encode_bytes(DIGEST))
    ]


@pytest.mark.parametrize(
    ("text", "town", "reason"),
    [
        (with_byte(100, 1), TOWN, "receipt_forged"),
        (with_byte(-70, 1), TOWN, "receipt_altered"),
        (code(OTHER_SERVER), TOWN, "receipt_key_unknown"),
        (code(), OTHER_TOWN, "receipt_foreign"),
        ("HELLO", TOWN, "receipt_unreadable"),
    ],
)
def test_a_bad_receipt_is_told_with_its_reason(tmp_path: Path, text: str, town: str, reason: str) -> None:
    status, answers = told(tmp_path, text, "--town", town)

    assert status == PROBLEM
    assert [(one["is_good"], one["code"]) for one in answers] == [(False, reason)]


def test_two_receipts_of_one_number_are_told(tmp_path: Path) -> None:
    status, answers = told(tmp_path, code(), code(seq=342))

    assert status == PROBLEM
    assert {one["code"] for one in answers} == {"receipt_reused"}


def test_people_read_a_line_for_each_receipt(tmp_path: Path) -> None:
    done = verify(tmp_path, code(), code(key=KEY, number=18), with_byte(-70, 1), "--key", SERVER.public_key)

    assert done.returncode == PROBLEM
    assert [line.split()[:3] for line in done.stdout.splitlines()] == [
        ["good", "HC29HZ-000017", "12.50"],
        ["good", "HC29HZ-000018", "12.50"],
    ]
    assert done.stderr.startswith("receipt_altered")


def test_without_a_key_anywhere_it_is_wrong_use_or_a_problem_and_no_traceback(tmp_path: Path) -> None:
    done = verify(tmp_path, code())

    assert done.returncode != GOOD
    assert "Traceback" not in done.stderr
