"""The generated reference pages are what the code says now."""

from __future__ import annotations

import pytest

from docs import generate


@pytest.mark.parametrize("path", generate.PAGES)
def test_a_generated_page_is_up_to_date(path: str) -> None:
    assert (generate.DOCS / path).read_text() == generate.PAGES[path](), "run: python docs/generate.py"


def test_every_command_has_an_example() -> None:
    page = generate.commands_page()

    assert page.count("\n```console\n$ tallystick ") == page.count("\n## `tallystick ")
