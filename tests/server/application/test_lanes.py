"""What is kept of towns between batches: within one bound, at the cost of who stands still, and counted as it is."""

from __future__ import annotations

from server.application.lanes import Lane, Lanes
from sync.engine.feed import Stored


def row(items: int = 0) -> Stored:
    return Stored(version=1, fields={"name": "a row", "lines": ["an item"] * items})


def test_a_row_counts_once_however_often_it_changes_and_two_items_count_as_a_row() -> None:
    lane = Lane(town_id="Douglas")
    lane.keep({("order", "1"): None, ("order", "2"): row()})
    assert lane.size == 2

    lane.keep({("order", "1"): row(items=6)})
    assert lane.size == 5

    lane.drop(("order", "1"))
    lane.drop(("order", "3"))
    assert (lane.size, lane.rows) == (1, {("order", "2"): row()})


def test_the_town_written_to_longest_ago_gives_way_first() -> None:
    lanes = Lanes(kept_rows_max=5)
    for town_id in ("Douglas", "Ramsey", "Peel"):
        _write(lanes, town_id, 2)

    assert [len(lanes.of(town_id).rows) for town_id in ("Douglas", "Ramsey", "Peel")] == [0, 2, 2]


def test_a_town_that_is_being_decided_is_left_alone() -> None:
    lanes = Lanes(kept_rows_max=3)
    deciding = _write(lanes, "Douglas", 2)
    deciding.is_running = True

    _write(lanes, "Ramsey", 2)

    assert (len(deciding.rows), lanes.of("Douglas"), len(lanes.of("Ramsey").rows)) == (2, deciding, 0)


def test_a_town_that_is_larger_than_the_bound_begins_anew() -> None:
    lanes = Lanes(kept_rows_max=3)
    lane = _write(lanes, "Douglas", 3)
    lane.is_running = True
    assert len(lane.rows) == 3

    lane.keep({("order", "more"): row()})
    lanes.make_room(lane)
    assert (lane.rows, lane.size) == ({}, 0)

    lane.keep({("order", "more"): row()})
    lanes.make_room(lane)
    assert len(lane.rows) == 1


def _write(lanes: Lanes, town_id: str, count: int) -> Lane:
    lane = lanes.of(town_id)
    lane.keep({("order", str(number)): row() for number in range(count)})
    lanes.make_room(lane)
    return lane
