"""Two ordered streams as one: each place once, with what both have there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.application.queries.side_by_side import side_by_side, streamed

ROWS = st.dictionaries(st.tuples(st.text(max_size=2), st.text(max_size=2)), st.integers(), max_size=8)


@given(ROWS, ROWS)
async def test_every_place_is_told_once_with_both_sides(
    ours: dict[tuple[str, str], int], theirs: dict[tuple[str, str], int]
) -> None:
    streams = (streamed(iter(sorted(rows.items()))) for rows in (ours, theirs))

    told = [one async for one in side_by_side(*streams)]

    assert told == [(place, ours.get(place), theirs.get(place)) for place in sorted(ours.keys() | theirs.keys())]
