"""What the documentation says that can be checked: links, headings, commands, tests and files named in it.

Pure functions from a page's text; nothing here reads a file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_FILE = re.compile(r"`((?:sync|server|client_sdk|migrations|tests|docs|loadtests)/[\w./-]+\.\w+)`")
_SHELLS = frozenset({"sh", "console"})


def links_of(page: str) -> list[str]:
    """Targets of links and images that lead to this repository, outside of code blocks."""
    found = _LINK.findall(_FENCE.sub("", page))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors_of(page: str) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    headings = _HEADING.findall(_FENCE.sub("", page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines_of(page: str) -> Iterator[list[str]]:
    """Every use of `tallystick` in a shell block or as inline code, without the word itself."""
    lines = []
    for language, text in _FENCE.findall(page):
        if language in _SHELLS:
            lines += [line.removeprefix("$ ") for line in text.splitlines()]
    lines += _CODE.findall(_FENCE.sub("", page))
    for line in lines:
        if line.startswith("tallystick "):
            yield shlex.split(line)[1:]


def wrong_use(words: list[str], command: Any) -> str | None:
    """What is wrong with a command line as a page has it: a command or an option that `command` does not have."""
    commands = getattr(command, "commands", None)
    if not words or (commands is not None and words[0] in {"...", "…"}):
        return None
    word, *rest = words
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    if word.startswith("-"):
        if word not in known | {"--help", "-h"}:
            return f"{command.name} has no option {word}"
        return wrong_use(rest, command)
    if commands is None:
        return wrong_use(rest, command)
    for name in word.split("|"):
        if name not in commands:
            return f"{command.name} has no command {name}"
    return wrong_use(rest, commands[word.split("|")[0]])


def tests_of(page: str) -> list[tuple[str, str]]:
    """(file, test) for every test that a page names as `file::test`."""
    return _TEST.findall(page)


def files_of(page: str) -> list[str]:
    """Every file of the repository that a page names in inline code."""
    return _FILE.findall(page)
