"""A page of documentation as a program: its code blocks in order, shell and Python, and what they are to print.

A `sh` block is run line by line, a `python` block in one namespace for the whole page. A `text` block right behind
a `python` block is what that prints; `…` in it stands for anything.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One code block of a page; `line` is where its text begins, `shown` what the page says that it prints."""

    language: str
    text: str
    line: int
    shown: str | None


def blocks_of(page: str) -> Iterator[Block]:
    """The code blocks of a page, in order."""
    found = list(_BLOCK.finditer(page))
    for place, match in enumerate(found):
        after = found[place + 1] if place + 1 < len(found) else None
        is_output = after is not None and after[1] == "text" and not page[match.end() : after.start()].strip()
        yield Block(
            language=match[1],
            text=match[2],
            line=page.count("\n", 0, match.start()) + 2,
            shown=after[2] if is_output and after is not None else None,
        )


def fits(shown: str, printed: str) -> bool:
    """Whether what was printed is what the page shows."""
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("…"))
    return re.fullmatch(pattern, printed.strip()) is not None


class PageRun:
    """A reader who does everything that a page says, in order."""

    def __init__(self, path: str, *, shell: Callable[[str], str], replace: Mapping[str, str]) -> None:
        """`shell` runs one command line and gives its output; `replace` is what differs here from the page."""
        self._path = path
        self._shell = shell
        self._replace = replace
        self._last_output = ""
        self._names: dict[str, object] = {"input": self._answer}

    def do(self, block: Block) -> str:
        """Run a block; what it printed. Raises what the block raises, with the page's own line numbers."""
        text = block.text
        for page_says, here in self._replace.items():
            text = text.replace(page_says, here)
        if block.language == "sh":
            self._last_output = "".join(self._shell(line) for line in text.splitlines() if line)
            return self._last_output
        if block.language != "python":
            return ""
        code = compile("\n" * (block.line - 1) + text, self._path, "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, self._names)  # noqa: S102 - the page is part of this repository
        return printed.getvalue()

    def close(self) -> None:
        """Close what a page that broke off has left open."""
        for value in self._names.values():
            close = getattr(value, "close", None)
            if close is not None and not isinstance(value, type):
                close()

    def _answer(self, _prompt: str) -> str:
        """What a reader would type: the code that the last command printed."""
        return re.search(r"^code +(\S+)$", self._last_output, re.MULTILINE)[1]  # type: ignore[index]
