"""The page about reminders says what the code does: the request, how it is checked, the states and the problems."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from server.adapters.memory import MemorySystem
from server.adapters.reminder_sandbox import ReminderChaos
from server.application.commands.send_reminders import DAY_BEGINS_HOUR, DAY_ENDS_HOUR
from server.application.commands.work_off_outbox import ATTEMPTS_MAX
from server.application.reminder_ports import Fate, GatewayRefused, GatewayUnavailable
from server.domain.webhooks import TOLERANCE_SECONDS, signed_header
from tests.support.debts import gateway_at, reminder
from tests.support.pages import blocks_of

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/remind-those-who-owe.md").read_text(encoding="utf-8")
OLD, NEW, NOW = b"an old secret of ours", b"a new secret of ours", 1_800_000_000


@pytest.fixture(scope="module")
def check() -> Any:
    """What the page gives to whoever writes a gateway."""
    (block,) = (block for block in blocks_of(PAGE) if block.language == "python")
    names: dict[str, Any] = {}
    exec(compile(block.text, "remind-those-who-owe.md", "exec"), names)  # noqa: S102 - the page is ours
    return names["is_ours"]


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_the_check_on_the_page_knows_what_is_ours(check: Any, secret: bytes) -> None:
    header = signed_header([NEW, OLD], NOW, b"{}")

    assert check(header, b"{}", secret, NOW + TOLERANCE_SECONDS)
    assert not check(header, b"{} ", secret, NOW)
    assert not check(header, b"{}", secret + b"!", NOW)
    assert not check(header, b"{}", secret, NOW + TOLERANCE_SECONDS + 1)


async def test_the_document_on_the_page_is_the_one_that_is_sent() -> None:
    (shown,) = (orjson.loads(block.text) for block in blocks_of(PAGE) if block.language == "json")
    async with gateway_at(MemorySystem()) as (gateway, sandbox, _):
        await gateway.send(shown["town"], reminder())

    (sent,) = sandbox.taken.values()
    assert {name: type(value) for name, value in sent.items()} == {name: type(value) for name, value in shown.items()}
    assert (sent["to"], sent["text"]) == (shown["to"], shown["text"])


def test_every_state_and_every_problem_is_on_the_page() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))

    assert told == {*(fate.value for fate in Fate), GatewayUnavailable.code, GatewayRefused.code}


def test_the_chaos_that_the_page_shows_is_one() -> None:
    (shown,) = re.findall(r"-d '(\{.+\})'", PAGE)

    assert ReminderChaos.model_validate(orjson.loads(shown)).on_post == ("500", "hang_in", "400")


def test_the_hours_and_the_tries_on_the_page_are_those_of_the_code() -> None:
    assert (DAY_BEGINS_HOUR, DAY_ENDS_HOUR, ATTEMPTS_MAX) == (8, 20, 20)
    assert "between eight in the morning and eight in the evening" in PAGE
    assert "twenty times" in PAGE
