"""Every case of the page of API cases is done against a real server, and every route has its section there."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from server.domain.people import TOTP_SECONDS
from server.stack import Stack
from tests.support.api_cases import CaseRun, Step, commands_of, fits, routes_of, sections_of, steps_of
from tests.support.stack import scratch_directory

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/api-test-cases.md", "docs/how-to/sell-to-customers-over-http.md")
PAGE_ADDRESS = "http://127.0.0.1:8000"
WITHOUT_A_GOOD_CASE = {
    "POST /v1/devices",
    "POST /v1/oauth/token",
    "POST /v1/towns/{town_id}/exchange",
    "GET /v1/towns/{town_id}/live",
    "GET /v1/towns/{town_id}/snapshots/{sha256}",
    "GET /v1/towns/{town_id}/papers/{paper_id}",
    "POST /v1/towns/{town_id}/devices/{device_id}/sealed",
    "GET /v1/towns/{town_id}/stubs/{row_id}",
    "GET /v1/receipts/{code}",
    *(f"GET /v1/towns/{{town_id}}/{owners}/{{owner_id}}/statement" for owners in ("parties", "students", "schools")),
    "POST /v1/webhooks/momo/{town_id}/{code}",
    "POST /v1/webhooks/card",
}
"""What is good there is signed by a device: the page's device does the first three, tests of the SDK do the rest.

The last two are opened by secrets that only a provider is told: `tests/server/api/test_webhooks.py` and its neighbour.
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with (
        scratch_directory() as directory,
        Stack.start(directory / "data", environment={"TALLYSTICK_API_DOCS": "true"}) as running,
    ):
        yield running


def page(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def tallystick(stack: Stack) -> Mapping[str, str]:
    """The environment in which a command finds this server."""
    quiet = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    return quiet | {"TALLYSTICK_DATA_DIR": str(stack.data_dir), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def totp(names: Mapping[str, str]) -> str:
    """What an authenticator app shows now."""
    secret = base64.b32decode(names["SECRET"])
    return TOTP(secret, 6, SHA1(), TOTP_SECONDS).generate(int(time.time())).decode()  # noqa: S303


def reader_of(stack: Stack) -> CaseRun:
    environment = tallystick(stack)

    def run(words: list[str]) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "server.cli", *words], env=environment, capture_output=True, check=False, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return CaseRun(client=httpx2.Client(timeout=30), tallystick=run, names={}, derived={"TOTP": totp})


@pytest.mark.parametrize(("path", "answers_min"), [(PAGES[0], 300), (PAGES[1], 4)])
def test_every_case_is_answered_as_the_page_says(
    stack: Stack, path: str, answers_min: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reader = reader_of(stack)
    wrong = []
    with reader.client:
        for step in steps_of(page(path).replace(PAGE_ADDRESS, stack.url)):
            try:
                reader.do(step)
            except (AssertionError, KeyError, OSError) as fault:
                wrong.append(f"{path}:{step.line}: {type(fault).__name__}: {fault}")

    assert wrong == []
    assert reader.answered >= answers_min


def test_every_route_of_the_server_has_its_section(stack: Stack) -> None:
    said = httpx2.get(f"{stack.url}/openapi.json").json()["paths"]

    assert routes_of(page(PAGES[0])) == {
        f"{method.upper()} {path}" for path, methods in said.items() for method in methods
    }


def test_every_section_has_a_good_case_and_what_needs_a_session_its_refusals(stack: Stack) -> None:
    said = httpx2.get(f"{stack.url}/openapi.json").json()["paths"]

    for route, text in sections_of(page(PAGES[0])).items():
        method, _, path = route.partition(" ")
        operation = said[path][method.lower()]
        statuses = set(re.findall(r"(?:^HTTP/1\.1 |\| )(\d{3})\b", text, re.MULTILINE))
        assert any(status < "300" for status in statuses) or route in WITHOUT_A_GOOD_CASE, route
        wanted = set()
        if {"session": []} in operation.get("security", []):
            wanted = {"401", *({"404"} if "{town_id}" in path else ()), *({"403"} if "{town_id}" in path else ())}
        elif not path.endswith(("z", "keys")):
            wanted = statuses & {"400", "401", "404"}
            assert wanted, route
        assert wanted <= statuses, route
        assert {status for status in statuses if status >= "400"} <= operation["responses"].keys(), (route, statuses)


@pytest.mark.parametrize(
    ("wanted", "said", "is_same"),
    [
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1, "…": "…"}, {"a": 1, "b": 2}, True),
        ({"a": 1, "…": "…"}, {"b": 2}, False),
        ({"a": "$OLD"}, {"a": "x"}, True),
        ({"a": "$OLD"}, {"a": "y"}, False),
        (["a", "…"], ["a", "b"], True),
        (["a"], ["a", "b"], False),
        (1, True, False),
        (None, "…", False),
        ("…", None, True),
        ("/t/$OLD/…", "/t/x/1", True),
    ],
)
def test_an_answer_that_is_not_as_shown_is_found(wanted: object, said: object, *, is_same: bool) -> None:
    assert fits(wanted, said, {"OLD": "x"}) is is_same


def test_a_name_that_is_new_in_an_answer_is_kept() -> None:
    names = {"TOWN": "t1"}

    assert fits({"at": "/$TOWN/$ORDER"}, {"at": "/t1/o-7"}, names)
    assert names == {"TOWN": "t1", "ORDER": "o-7"}


def test_blocks_and_rows_are_done_in_the_order_of_the_page() -> None:
    text = (
        "```sh\nA=1\n```\n\n| because | request | answer |\n|---|---|---|\n| of it | `curl x` | 404 `not_found` |\n\n"
        "```sh\ncat > f <<END\n{}\nEND\ncurl y\n```\n\n```http\nHTTP/1.1 200 OK\n```\n"
    )

    steps = steps_of(text)

    assert [step.text for step in steps] == ["A=1\n", "curl x", "cat > f <<END\n{}\nEND\ncurl y\n"]
    assert steps[1].shown == 'HTTP/1.1 404\n\n{"code": "not_found", "…": "…"}'
    assert steps[2] == Step(line=10, kind="sh", text=steps[2].text, shown="HTTP/1.1 200 OK\n")
    assert list(commands_of(steps[2].text)) == [("cat > f <<END", "{}"), ("curl y", None)]
