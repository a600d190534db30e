"""`docs/reference/protocol.md` says what the code does: limits, states, problems, messages, golden files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from sync.engine.transitions import PROBLEM_EVENTS, table_as_markdown
from sync.protocol import codec, limits, messages
from tests.support.make_vectors import MAKERS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "reference" / "protocol.md").read_text()


def limits_as_markdown() -> str:
    """One row for each limit: its name, its value, and the docstring behind it."""
    source = Path(limits.__file__).read_text()
    rows = re.findall(r'^([A-Z_]+) = [^\n]*\n"""(.*?)"""$', source, re.MULTILINE | re.DOTALL)
    return "\n".join(f"| `{name}` | {getattr(limits, name):,} | {' '.join(what.split())} |" for name, what in rows)


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def members(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def test_every_limit_is_listed_with_its_value() -> None:
    assert limits_as_markdown() in section("Limits")
    assert limits_as_markdown().count("\n") + 1 == sum(name.isupper() for name in dir(limits))


def test_the_state_table_is_the_one_in_force() -> None:
    assert table_as_markdown().strip() in section("The state machine")


@pytest.mark.parametrize("code", PROBLEM_EVENTS)
def test_every_problem_is_explained(code: str) -> None:
    assert f"`{code}`" in section("Problems")


@pytest.mark.parametrize("model", [*messages.UP, *messages.DOWN, messages.SignedHead, messages.Hello])
def test_every_member_of_every_message_is_named(model: type[BaseModel]) -> None:
    unnamed = [name for name in members(model) if f"`{name}`" not in PAGE and f'"{name}"' not in PAGE]

    assert [name for name in unnamed if name != "t"] == []


def test_every_member_of_a_change_set_is_named() -> None:
    named = {name for name in codec._HEADER | codec._OPTIONAL if f"\n| `{name}` |" in section("A change set")}

    assert named == codec._HEADER | codec._OPTIONAL


@pytest.mark.parametrize("name", MAKERS)
def test_every_golden_file_is_listed(name: str) -> None:
    assert f"`{name}.json`" in section("Golden files")
