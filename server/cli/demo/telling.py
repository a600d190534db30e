"""How the story is told on a terminal: headings, sentences, tables, and a line at the bottom for what is being done.

At most 100 columns, so that it reads the same in a window, in a log and on a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.rule import Rule
from rich.status import Status
from rich.table import Table

from server.stack import StackStopped

COLUMNS_MAX = 100
INDENT = 2
GOOD, BAD = "[bold green]✓[/]", "[bold red]✗[/]"


class Teller:
    """Prints the story as it happens; use it in a `with` block. `is_stopping` is asked before every step."""

    def __init__(self, console: Console, is_stopping: Callable[[], bool]) -> None:
        self.is_stopping = is_stopping
        self._console = console
        self._status: Status = console.status("Starting ...")

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def doing(self, step: str) -> None:
        """Say what comes next; raises `StackStopped` when somebody wants to stop instead."""
        if self.is_stopping():
            raise StackStopped
        self._status.update(f"[dim]{escape(step)} ...[/]")

    def ending(self, step: str) -> None:
        """Say what is being cleared away; nobody can stop that."""
        self._status.update(f"[dim]{escape(step)} ...[/]")

    def scene(self, number: int, title: str, lead: str) -> None:
        """A heading, and what the scene is about."""
        self.gap()
        self._console.print(Rule(f"[bold]{number}  {escape(title)}[/]", align="left", style="cyan"))
        self.say(f"[dim]{escape(lead)}[/]")

    def title(self, text: str) -> None:
        """A smaller heading."""
        self.gap()
        self.say(f"[bold]{escape(text)}[/]")

    def gap(self) -> None:
        """An empty line."""
        self._console.print()

    def say(self, markup: str) -> None:
        """A paragraph, indented."""
        self.show(markup)

    def happened(self, markup: str, *, is_good: bool = True) -> None:
        """A line with a mark in front."""
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_row(GOOD if is_good else BAD, markup)
        self.show(table)

    def show(self, what: RenderableType) -> None:
        """Anything that rich can draw, indented."""
        self._console.print(Padding(what, (0, 0, 0, INDENT), expand=False))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> None:
        """Rows of markup below dim headings; `right` are the columns of numbers."""
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
        for place, name in enumerate(columns):
            table.add_column(name, justify="right" if place in right else "left", no_wrap=place in right)
        for row in rows:
            table.add_row(*row)
        self.show(table)


def page(*, is_stderr: bool) -> Console:
    """A console that is never wider than a page of `COLUMNS_MAX`."""
    console = Console(highlight=False, stderr=is_stderr)
    if not console.is_terminal or console.width > COLUMNS_MAX:
        console.width = COLUMNS_MAX
    return console


def money(pence: int) -> str:
    """An amount for people."""
    return f"£{pence // 100:,}.{pence % 100:02}"


def counted(count: int, what: str, many: str = "") -> str:
    """`1 order`, `2 orders`."""
    return f"{count:,} {what if count == 1 else many or what + 's'}"
