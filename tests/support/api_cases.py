"""A page of HTTP cases as a program: its `curl` commands are sent, and the answers are what the page says.

A `sh` block holds commands of a small part of the shell: `NAME=value`, `NAME=$(tallystick ...)`, `tallystick ...`,
`cat > FILE <<END` and `curl`. The `http` block behind it is the answer to its `curl`; in a table, a row with a `curl`
has status and code in its last cell. In an answer "…" stands for anything, as a member's name for further members;
"$NAME" is what that name holds, or gives the name its value. A `python` block is run with the names filled in.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson

from tests.support.pages import blocks_of

ANYTHING = "…"
_NAME = re.compile(r"\$(?:\{)?([A-Z][A-Z_0-9]*)\}?")
_ROW = re.compile(
    r"^\|(?P<words>[^|`]+)\| `(?P<curl>curl [^`]+)` \| (?P<status>\d+) `(?P<code>[\w.]+)` \|$", re.MULTILINE
)
_ROUTE = re.compile(r"^### ([A-Z]+) (/\S+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that the page does: commands, with the answer that is shown of the last, if one is."""

    line: int
    kind: str
    text: str
    shown: str | None = None


def routes_of(page: str) -> set[str]:
    """The routes that the page has a section for, as `GET /path`."""
    return {f"{method} {path}" for method, path in _ROUTE.findall(page)}


def sections_of(page: str) -> dict[str, str]:
    """The text of each route's section."""
    found = list(_ROUTE.finditer(page))
    ends = [*(match.start() for match in found[1:]), len(page)]
    texts = [page[match.end() : end].partition("\n## ")[0] for match, end in zip(found, ends, strict=True)]
    return {f"{match[1]} {match[2]}": text for match, text in zip(found, texts, strict=True)}


def steps_of(page: str) -> list[Step]:
    """What the page does, in order."""
    blocks = list(blocks_of(page))
    steps = []
    for place, block in enumerate(blocks):
        after = blocks[place + 1] if place + 1 < len(blocks) else None
        if block.language in {"sh", "python"}:
            shown = after.text if after is not None and after.language in {"http", "text"} else None
            steps.append(Step(line=block.line, kind=block.language, text=block.text, shown=shown))
    for row in _ROW.finditer(page):
        line = page.count("\n", 0, row.start()) + 1
        shown = f'HTTP/1.1 {row["status"]}\n\n{{"code": "{row["code"]}", "…": "…"}}'
        steps.append(Step(line=line, kind="sh", text=row["curl"], shown=shown))
    return sorted(steps, key=lambda step: step.line)


@dataclass(kw_only=True)
class CaseRun:
    """A reader who pastes every command of a page, in this directory; `derived` makes names that no answer gives."""

    client: httpx2.Client
    tallystick: Callable[[list[str]], str]
    names: dict[str, str]
    derived: Mapping[str, Callable[[Mapping[str, str]], str]] = field(default_factory=dict)
    jars: dict[str, dict[str, str]] = field(default_factory=dict)
    answered: int = 0

    def do(self, step: Step) -> None:
        """Do what it says; an AssertionError when the answer is another than the one shown."""
        if step.kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile("\n" * (step.line - 1) + self._filled(step.text), "page", "exec"), {})  # noqa: S102 - ours
            assert step.shown is None or fits(step.shown.strip(), printed.getvalue().strip(), self.names), printed
            return
        answer = None
        for command, document in commands_of(step.text):
            answer = self._command(command, document) or answer
        if step.shown is not None:
            assert answer is not None, step.text
            self._compare(answer, step.shown)
            self.answered += 1

    def _command(self, command: str, document: str | None) -> httpx2.Response | None:
        if set_name := re.fullmatch(r"([A-Z_]+)=(.*)", command):
            value = set_name[2]
            run = re.fullmatch(r"\$\((tallystick .*)\)", value)
            told = self.tallystick(shlex.split(self._filled(run[1]))[1:]).strip() if run else None
            self.names[set_name[1]] = told if told is not None else shlex.split(self._filled(value))[0]
            return None
        if file := re.fullmatch(r"cat > (\S+) <<END", command):
            assert document is not None, command
            Path(file[1]).write_text(self._filled(document) + "\n", encoding="utf-8")
            return None
        words = shlex.split(self._filled(command))
        if words[0] == "tallystick":
            self.tallystick(words[1:])
            return None
        assert words[0] == "curl", command
        return self._curl(words[1:])

    def _curl(self, words: list[str]) -> httpx2.Response:
        given: dict[str, list[str]] = {}
        urls = []
        rest = iter(words)
        for word in rest:
            if word in {"-X", "-H", "-d", "-b", "-c"}:
                given.setdefault(word, []).append(next(rest))
            elif word not in {"-i", "-s"}:
                assert not word.startswith("-"), word
                urls.append(word)
        (url,) = urls
        headers = [(name, value) for name, _, value in (header.partition(": ") for header in given.get("-H", ()))]
        for jar in given.get("-b", ()):
            headers += [("Cookie", "; ".join(f"{name}={value}" for name, value in self.jars[jar].items()))]
        (said,) = given.get("-d", [None])
        if said is not None and said.startswith("@"):
            said = Path(said[1:]).read_text(encoding="utf-8").replace("\n", "")  # as curl does
        if said is not None and not any(name.lower() == "content-type" for name, _ in headers):
            headers += [("Content-Type", "application/x-www-form-urlencoded")]  # as curl does
        method = given.get("-X", ["GET" if said is None else "POST"])[0]
        answer = self.client.request(method, url, headers=headers, content=said)
        self.client.cookies.clear()  # the jars of the page are the only ones
        for jar in given.get("-c", ()):
            name, _, value = answer.headers["set-cookie"].partition(";")[0].partition("=")
            self.jars[jar] = {name: value}
        return answer

    def _compare(self, answer: httpx2.Response, shown: str) -> None:
        head, _, body = shown.partition("\n\n")
        status, *headers = head.splitlines()
        assert answer.status_code == int(status.split()[1]), answer.text
        for header in headers:
            name, _, value = header.partition(": ")
            assert fits(value, answer.headers.get(name, ""), self.names), (header, answer.headers)
        if not body.strip():
            assert answer.content == b"", answer.text
            return
        said = answer.text if not body.lstrip().startswith(("{", "[")) else answer.json()
        wanted = body.strip() if isinstance(said, str) else orjson.loads(body)
        assert fits(wanted, said.strip() if isinstance(said, str) else said, self.names), answer.text

    def _filled(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1]
            return self.derived[name](self.names) if name in self.derived else self.names[name]

        return _NAME.sub(value, text)


def commands_of(text: str) -> Iterator[tuple[str, str | None]]:
    """The commands of a block, each on one line, with the document behind it if it has one."""
    lines = iter(text.replace("\\\n", " ").splitlines())
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        assert not re.search(r"'[^']*\$[^']*'", line), f"a name in single quotes is not filled in: {line}"
        document = None
        if line.endswith("<<END"):
            document = "\n".join(iter(lambda: next(lines), "END"))
        yield line.strip(), document


def fits(wanted: Any, said: Any, names: dict[str, str]) -> bool:
    """Whether what was said is what the page shows; names that it gives are kept in `names`."""
    if wanted == ANYTHING:
        return True
    if isinstance(wanted, str) and isinstance(said, str):
        return _fits_text(wanted, said, names)
    if isinstance(wanted, dict) and isinstance(said, dict):
        known = wanted.keys() - {ANYTHING}
        is_whole = ANYTHING in wanted or said.keys() <= known
        return (
            is_whole
            and known <= said.keys()
            and all(fits(wanted[name], said[name], names) for name in wanted.keys() & known)
        )
    if isinstance(wanted, list) and isinstance(said, list):
        if wanted and wanted[-1] == ANYTHING:
            wanted, said = wanted[:-1], said[: len(wanted) - 1]
        return len(wanted) == len(said) and all(
            fits(one, other, names) for one, other in zip(wanted, said, strict=True)
        )
    return type(wanted) is type(said) and wanted == said


def _fits_text(wanted: str, said: str, names: dict[str, str]) -> bool:
    pattern, given = "", []
    for part in re.split(r"(…|\$[A-Z][A-Z_0-9]*)", wanted):
        if part == ANYTHING:
            pattern += ".*"
        elif part.startswith("$") and part[1:] not in names:
            given.append(part[1:])
            pattern += r"([\w.:+/=-]+)"
        else:
            pattern += re.escape(names.get(part[1:], part) if part.startswith("$") else part)
    found = re.fullmatch(pattern, said, re.DOTALL)
    if found:
        names.update(zip(given, found.groups(), strict=True))
    return found is not None
