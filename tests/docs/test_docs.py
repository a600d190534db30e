"""The documentation is true where a machine can tell: links, names, commands, and the tests it rests on."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path

import pytest
import typer

from docs.generate import fault_classes
from server.cli.app import whole_app
from server.settings import Settings
from sync.modules import registry
from sync.protocol.version import SCHEMA
from tests.support import markdown

ROOT = Path(__file__).resolve().parents[2]
RECORDS = "docs/decisions/"
SECTIONS = ["Context", "Decision", "Consequences", "Enforced by"]


@functools.cache
def pages() -> dict[str, str]:
    """Every page of the repository, tracked or about to be, by its path."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    paths = [path for path in sorted(filter(None, listed.split("\0"))) if (ROOT / path).is_file()]
    return {path: (ROOT / path).read_text(encoding="utf-8") for path in paths}


def reference() -> str:
    """All pages for looking up, as one text."""
    return "".join(text for path, text in pages().items() if path.startswith("docs/reference/"))


def not_named(names: set[str], text: str) -> set[str]:
    """Those names that the text does not have as inline code."""
    return {name for name in names if f"`{name}`" not in text}


def records() -> dict[str, str]:
    """Decision records by path, without the template and the index."""
    return {path: text for path, text in pages().items() if re.match(RECORDS + r"(?!0000)\d{4}-", path)}


def test_the_page_on_the_wire_is_of_this_schema() -> None:
    assert f"written for, {SCHEMA} for this page" in pages()["docs/reference/protocol.md"]


def test_every_link_leads_somewhere() -> None:
    broken = []
    for path, text in pages().items():
        for link in markdown.links_of(text):
            target, _, anchor = link.partition("#")
            place = (ROOT / path).parent.joinpath(target).resolve() if target else ROOT / path
            if not place.exists():
                broken.append(f"{path}: {link}")
            elif anchor and anchor not in markdown.anchors_of(place.read_text(encoding="utf-8")):
                broken.append(f"{path}: {link}: no such heading")

    assert broken == []


def test_every_command_is_there_with_its_options() -> None:
    root = typer.main.get_command(whole_app())
    wrong = [
        f"{path}: tallystick {' '.join(words)}: {fault}"
        for path, text in pages().items()
        if path == "README.md" or path.startswith("docs/")
        for words in markdown.command_lines_of(text)
        if (fault := markdown.wrong_use(words, root))
    ]

    assert wrong == []


def test_every_test_that_a_page_names_is_there() -> None:
    sources = {path: (ROOT / path).read_text() for text in pages().values() for path, _ in markdown.tests_of(text)}
    named = [(path, *test) for path, text in pages().items() for test in markdown.tests_of(text)]

    assert len(named) > len(sources) > 10
    assert [one for one in named if not re.search(rf"^(async )?def {one[2]}\(", sources[one[1]], re.MULTILINE)] == []


def test_every_file_that_a_page_names_is_there() -> None:
    named = [(path, file) for path, text in pages().items() for file in markdown.files_of(text)]

    assert len(named) > 50
    assert [f"{path}: {file}" for path, file in named if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("settings", {str(field.alias) for field in Settings.model_fields.values()}),
        ("error codes", {fault.code for fault in fault_classes()}),
        ("operations", set(registry().operations)),
        ("rules", set(registry().cases)),
        ("entities", set(registry().entities)),
    ],
)
def test_every_name_is_in_the_reference(kind: str, names: set[str]) -> None:
    assert len(names) > 5, kind
    assert not_named(names, reference()) == set()


def test_every_decision_record_has_its_parts_and_its_place_in_the_index() -> None:
    index = pages()[f"{RECORDS}README.md"]
    numbers = [path.removeprefix(RECORDS)[:4] for path in records()]

    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
    for path, text in records().items():
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS, path
        assert re.match(r"# \d{4}\. .+\n\nDate: \d{4}-\d\d-\d\d\. Status: \w+", text), path
        assert f"]({path.removeprefix(RECORDS)})" in index, path


def test_every_decision_record_names_what_enforces_it() -> None:
    silent = [
        path
        for path, text in records().items()
        if not (enforced := text.partition("## Enforced by")[2]).strip().startswith("Nothing")
        and not re.search(r"`(sync|server|client_sdk|migrations|tests)/[\w/]+\.\w+|`pyproject\.toml`", enforced)
    ]

    assert silent == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("`tallystick up --port 9000`", None),
        ("`tallystick device list|suspend`", None),
        ("```sh\ntallystick town add Douglas --currency GBP\n```", None),
        ("`tallystick fly`", "tallystick has no command fly"),
        ("`tallystick device fly`", "device has no command fly"),
        ("```console\n$ tallystick up --fast\n```", "up has no option --fast"),
    ],
)
def test_a_command_that_is_not_there_is_found(line: str, fault: str | None) -> None:
    root = typer.main.get_command(whole_app())
    root.name = "tallystick"
    (words,) = markdown.command_lines_of(line)

    assert markdown.wrong_use(words, root) == fault


def test_links_and_headings_are_read_as_they_are_shown() -> None:
    page = "# One page, two\n[a](b.md) ![c](d.svg#e) [f](https://g.example)\n```text\n[no](link)\n```\n"

    assert markdown.links_of(page) == ["b.md", "d.svg#e"]
    assert markdown.anchors_of(page) == {"one-page-two"}
