"""Rows that were rebuilt are found again, whether they are still in memory or in the file; and nothing else is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from server.adapters.rebuilt import rebuilt_in_file
from sync.engine.feed import Stored
from sync.engine.rebuilt import InMemory

KEYS = st.tuples(st.sampled_from(["order", "task"]), st.sampled_from("abcdefgh"))
VALUES = st.integers(-(2**53), 2**53) | st.text() | st.lists(st.booleans())
STEPS = st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=40)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_a_file_gives_what_memory_gives(steps: list[tuple[tuple[str, str], object]]) -> None:
    memory = InMemory()
    with rebuilt_in_file(recent_rows_max=3) as file:
        for version, (key, value) in enumerate(steps):
            if value is None:
                assert (file[key], file.get(key)) == (memory[key], memory.get(key))
            else:
                for rows in (memory, file):
                    rows.put(key, Stored(version=version, fields={"value": value}))
        for entity in ("order", "task", "other"):
            assert list(file.ordered(entity)) == list(memory.ordered(entity))
