"""Who wins when a shelf is counted while others move its goods, and what is asked when nobody can know."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.engine.town import Submitted
from sync.modules.commerce import AdjustStock, PickLine
from sync.modules.commerce.counts import CountLine, CountStock
from sync.modules.commerce.entities import stock_level_id
from sync.modules.commerce.shelf import MOVEMENTS_KNOWN_MAX
from sync.modules.identity import ChangeSettings
from sync.modules.town_settings import TownSettings
from tests.support.decisions import ACCEPTED, Left, adjusted, noted, refused, shelf, told
from tests.support.shelves import MINUTE_MS, add_picker, add_tablet, arrives, count_of, counts, offline, online
from tests.support.town_in_memory import MarketTown, found_market_town

SUPERSEDED = noted("stock.count_superseded", "Tea was counted again after this; the later count stands.")


def moved(town: MarketTown, delta: int) -> AdjustStock:
    return AdjustStock(warehouse=town.warehouse, product=town.tea, delta=delta)


def uncertain(town: MarketTown, by: str, said: dict[str, int | None], had: dict[str, int], outcome: str) -> Left:
    return Left(
        kind="count_uncertain",
        sentence="Whether goods moved before or after Tea was counted is not known.",
        about=("stock_level", stock_level_id(town.warehouse, town.tea)),
        by=by,
        said=said,
        had=had,
        outcome=outcome,
        task="Count Tea again",
        audience=f"warehouse:{town.warehouse}",
    )


def check_books(town: MarketTown) -> None:
    """On hand is the sum of the movements."""
    for row in town.rows_of("stock_level").values():
        moves = [m for m in town.rows_of("stock_movement").values() if m["product_id"] == row["product_id"]]
        assert row["on_hand"] == sum(move["on_hand_delta"] for move in moves)


def test_a_count_makes_the_books_say_what_was_counted(town: MarketTown) -> None:
    answered = town.does(town.tablet, town.picker, count_of(town, (town.tea, 8), (town.rice, 10), expected=10))

    assert told(town, answered) == ACCEPTED
    assert (shelf(town, town.tea), shelf(town, town.rice)) == ((8, 0), (10, 0))
    assert [row["on_hand_delta"] for row in town.rows_of("stock_movement").values() if row["count_id"]] == [-2]
    check_books(town)


def test_a_movement_before_the_count_that_comes_late_is_inside_of_it(town: MarketTown) -> None:
    other = add_tablet(town, "other")
    late = offline(town, other, moved(town, -3), base=town.version, minute=5)
    town.now_ms += 30 * MINUTE_MS
    online(town, town.tablet, count_of(town, (town.tea, 7)))

    answered = arrives(town, late)

    assert told(town, answered) == ACCEPTED
    assert shelf(town, town.tea) == (7, 0)
    assert [row["correction"] for row in town.rows_of("stock_count").values()] == [0]
    check_books(town)


def test_a_movement_after_the_count_comes_on_top_of_it(town: MarketTown) -> None:
    other = add_tablet(town, "other")
    late = offline(town, other, count_of(town, (town.tea, 7)), base=town.version, minute=5)
    town.now_ms += 30 * MINUTE_MS
    online(town, town.tablet, moved(town, 4))

    answered = arrives(town, late)

    assert told(town, answered) == ACCEPTED
    assert shelf(town, town.tea) == (11, 0)
    check_books(town)


def test_operations_of_one_line_have_their_order(town: MarketTown) -> None:
    acts = (moved(town, -1), count_of(town, (town.tea, 7)), moved(town, 2), moved(town, 1))

    answered = town.does(town.tablet, town.picker, *acts)
    town.does(town.tablet, town.picker, count_of(town, (town.tea, 9)))

    assert (told(town, answered), shelf(town, town.tea)) == (ACCEPTED, (9, 0))
    assert counts(town, town.tea) == [(7, "posted"), (9, "posted")]


def test_stock_count_uncertain_holds_up_that_line_alone(town: MarketTown) -> None:
    other = add_tablet(town, "other")
    count = offline(town, other, count_of(town, (town.tea, 7), (town.rice, 9), expected=10), base=town.version)
    town.now_ms += 30 * MINUTE_MS
    town.does(town.tablet, town.picker, moved(town, -1))

    answered = arrives(town, count)

    left = uncertain(town, "stock.count", {"counted": 7, "expected": 10}, {"on_hand": 9}, "not posted")
    assert told(town, answered) == adjusted("stock.count_uncertain", left)
    assert (shelf(town, town.tea), shelf(town, town.rice)) == ((9, 0), (9, 0))
    assert (counts(town, town.tea), counts(town, town.rice)) == ([(7, "uncertain")], [(9, "posted")])


def test_stock_count_uncertain_is_said_once_of_a_count_that_movements_may_lie_in(town: MarketTown) -> None:
    base = town.version
    others = [add_tablet(town, name) for name in ("a", "b")]
    lines = [offline(town, tablet, moved(town, -1), base=base) for tablet in others]
    town.now_ms += 30 * MINUTE_MS
    town.does(town.tablet, town.picker, count_of(town, (town.tea, 7)))

    verdicts = [told(town, arrives(town, line)) for line in lines]

    left = uncertain(town, "stock.adjust", {"delta": -1}, {"counted": 7}, "booked on top")
    assert verdicts == [adjusted("stock.count_uncertain", left), ACCEPTED]
    assert (shelf(town, town.tea), counts(town, town.tea)) == ((5, 0), [(7, "doubted")])


def test_stock_count_uncertain_when_more_has_moved_than_can_be_looked_through(town: MarketTown) -> None:
    other = add_tablet(town, "other")
    base = town.version
    for _ in range(MOVEMENTS_KNOWN_MAX):
        town.does(town.tablet, town.picker, moved(town, 1))
    town.now_ms += 30 * MINUTE_MS
    count = offline(town, other, count_of(town, (town.tea, 7)), base=base, minute=20)

    assert arrives(town, count).verdict.rule == "stock.count_uncertain"
    assert arrives(town, offline(town, other, count_of(town, (town.tea, 70)), base=town.version)).verdict.rule is None


def test_stock_count_uncertain_is_settled_by_counting_again(town: MarketTown) -> None:
    other = add_tablet(town, "other")
    count = offline(town, other, count_of(town, (town.tea, 7)), base=town.version)
    town.now_ms += 30 * MINUTE_MS
    town.does(town.tablet, town.picker, moved(town, -1))
    arrives(town, count)

    town.does(town.tablet, town.picker, count_of(town, (town.tea, 6)))

    assert (shelf(town, town.tea), counts(town, town.tea)) == ((6, 0), [(7, "uncertain"), (6, "posted")])


def test_stock_count_superseded_by_one_that_was_later_and_came_earlier(town: MarketTown) -> None:
    other, third = add_tablet(town, "other"), add_tablet(town, "third")
    base = town.version
    early = offline(town, other, count_of(town, (town.tea, 7)), base=base, minute=5)
    between = offline(town, third, moved(town, 5), base=base, minute=10)
    town.now_ms += 30 * MINUTE_MS
    arrives(town, between)
    online(town, town.tablet, count_of(town, (town.tea, 11)))

    assert told(town, arrives(town, early)) == SUPERSEDED
    assert shelf(town, town.tea) == (11, 0)


def disagree(town: MarketTown, first: int, second: int) -> Left:
    return Left(
        kind="counts_disagree",
        sentence="Tea was counted twice with nothing moved between, and the figures differ; neither counts.",
        about=("stock_level", stock_level_id(town.warehouse, town.tea)),
        by="stock.count",
        said={"counted": second, "expected": None},
        had={"counted": first},
        outcome="neither is posted",
        task="Count Tea once more, without looking at the books or at the counts before",
        audience=f"warehouse:{town.warehouse}",
    )


def test_stock_counts_disagree_posts_neither_and_asks_for_a_blind_third(town: MarketTown) -> None:
    town.does(town.tablet, town.picker, count_of(town, (town.tea, 8)))

    answered = town.does(town.tablet, town.picker, count_of(town, (town.tea, 9)))

    assert told(town, answered) == adjusted("stock.counts_disagree", disagree(town, 8, 9))
    assert (shelf(town, town.tea), counts(town, town.tea)) == ((10, 0), [(8, "disputed"), (9, "disputed")])
    check_books(town)


def test_stock_counts_disagree_undoes_what_late_movements_had_been_readjusted_by(town: MarketTown) -> None:
    other = add_tablet(town, "other")
    late = offline(town, other, moved(town, -3), base=town.version, minute=5)
    town.now_ms += 30 * MINUTE_MS
    online(town, town.tablet, count_of(town, (town.tea, 8)))
    arrives(town, late)

    online(town, town.tablet, count_of(town, (town.tea, 9)))

    assert shelf(town, town.tea) == (7, 0)
    check_books(town)


@pytest.mark.parametrize(("third", "on_hand", "state"), [(8, 8, "posted"), (9, 9, "posted"), (4, 10, "disputed")])
def test_stock_counts_disagree_until_a_third_agrees_with_one(
    town: MarketTown, third: int, on_hand: int, state: str
) -> None:
    for figure in (8, 9, third):
        online(town, town.tablet, count_of(town, (town.tea, figure)))

    assert shelf(town, town.tea) == (on_hand, 0)
    assert counts(town, town.tea) == [(8, "disputed"), (9, "disputed"), (third, state)]


def test_counts_may_differ_when_goods_moved_between(town: MarketTown) -> None:
    town.does(town.tablet, town.picker, count_of(town, (town.tea, 8)))
    town.does(town.tablet, town.picker, moved(town, -1))

    answered = town.does(town.tablet, town.picker, count_of(town, (town.tea, 6)))

    assert (told(town, answered), shelf(town, town.tea)) == (ACCEPTED, (6, 0))


def test_a_second_persons_same_figure_confirms_and_corrects_nothing_twice(town: MarketTown) -> None:
    rosa, other = add_picker(town, "Rosa"), add_tablet(town, "other")
    second = offline(town, other, count_of(town, (town.tea, 8)), base=town.version, actor=rosa)
    town.does(town.tablet, town.picker, count_of(town, (town.tea, 8)))

    answered = arrives(town, second)

    assert told(town, answered) == ACCEPTED
    assert (shelf(town, town.tea), counts(town, town.tea)) == ((8, 0), [(8, "confirmed"), (8, "confirmed")])


def test_the_same_person_counting_again_confirms_nothing(town: MarketTown) -> None:
    for _ in range(2):
        town.does(town.tablet, town.picker, count_of(town, (town.tea, 8)))

    assert (shelf(town, town.tea), counts(town, town.tea)) == ((8, 0), [(8, "posted"), (8, "posted")])


def test_stock_count_corrected_beyond_the_threshold_asks_why(town: MarketTown) -> None:
    town.office(ChangeSettings(settings=TownSettings(count_correction_max=4)), actor=town.admin)

    answered = town.does(town.tablet, town.picker, count_of(town, (town.tea, 5), (town.rice, 6), expected=10))

    left = Left(
        kind="count_corrected",
        sentence="The count of Tea corrects the books by -5.",
        about=("stock_level", stock_level_id(town.warehouse, town.tea)),
        by="stock.count",
        said={"counted": 5, "expected": 10},
        had={"on_hand": 10},
        outcome="corrected by -5",
        task="Find out why the books of Tea were wrong by -5",
        audience=f"warehouse:{town.warehouse}",
    )
    assert told(town, answered) == adjusted("stock.count_corrected", left)
    assert (shelf(town, town.tea), shelf(town, town.rice)) == ((5, 0), (6, 0))


def test_a_count_does_not_touch_what_is_reserved(town: MarketTown) -> None:
    order = town.places((town.tea, 3))

    town.does(town.tablet, town.picker, count_of(town, (town.tea, 8)))
    town.does(town.tablet, town.picker, PickLine(order=order, product=town.tea, quantity=3))

    assert shelf(town, town.tea) == (8, 3)


def test_a_shelf_that_nobody_has_booked_on_can_be_counted() -> None:
    bare = found_market_town(tea=0)

    bare.does(bare.tablet, bare.picker, count_of(bare, (bare.tea, 4)))

    assert shelf(bare, bare.tea) == (4, 0)


def test_a_product_is_counted_once_in_a_count(town: MarketTown) -> None:
    line = CountLine(product=town.tea, counted=1)

    with pytest.raises(ValueError, match="counted twice"):
        CountStock(warehouse=town.warehouse, lines=[line, line])


def test_a_device_writes_down_what_its_books_said(town: MarketTown) -> None:
    rows = {("stock_level", stock_level_id(town.warehouse, town.tea)): {"on_hand": 12}}
    count = count_of(town, (town.tea, 7), (town.rice, 3))

    shown = count.as_shown(lambda entity, row_id: rows.get((entity, row_id)))

    assert [line.expected for line in shown.lines] == [12, None]


@settings(max_examples=60, deadline=None)
@given(
    deltas=st.lists(st.integers(-4, 9).filter(bool), max_size=5),
    place=st.integers(0, 5),
    figure=st.integers(0, 30),
    order=st.randoms(use_true_random=False),
)
def test_any_order_of_arrival_leaves_the_same_level(deltas: list[int], place: int, figure: int, order: object) -> None:
    """Movements and one count, each on a tablet of its own, ten minutes apart by clocks that nobody can set."""
    place = min(place, len(deltas))
    town = found_market_town()
    tablets = [add_tablet(town, f"tablet {number}") for number in range(len(deltas) + 1)]
    base = town.version
    acts: list[AdjustStock | CountStock] = [moved(town, delta) for delta in deltas]
    acts.insert(place, count_of(town, (town.tea, figure)))
    lines: list[Submitted] = [
        offline(town, tablet, act, base=base, minute=10 * (number + 1))
        for number, (tablet, act) in enumerate(zip(tablets, acts, strict=True))
    ]
    town.now_ms += 24 * 60 * MINUTE_MS
    order.shuffle(lines)  # type: ignore[attr-defined]

    for line in lines:
        assert arrives(town, line).verdict.rule not in {"stock.count_uncertain", "stock.counts_disagree"}

    assert shelf(town, town.tea) == (figure + sum(deltas[place:]), 0)
    check_books(town)


def test_stock_counts_disagree_undoes_what_was_counted_twice(town: MarketTown) -> None:
    for _ in range(2):
        town.now_ms += MINUTE_MS
        online(town, town.tablet, count_of(town, (town.tea, 8)))
    town.now_ms += MINUTE_MS

    answered = online(town, town.tablet, count_of(town, (town.tea, 9)))

    assert answered.verdict.rule == "stock.counts_disagree"
    assert (counts(town, town.tea)[-1], shelf(town, town.tea)) == ((9, "disputed"), (10, 0))
    check_books(town)


def test_a_count_under_the_name_of_another_does_not_take_its_place(town: MarketTown) -> None:
    first = count_of(town, (town.tea, 8)).model_copy(update={"id": town.new_id()})
    town.does(town.tablet, town.picker, first)
    kept = town.rows_of("stock_count")

    answered = town.does(town.tablet, town.picker, count_of(town, (town.tea, 3)).model_copy(update={"id": first.id}))

    assert told(town, answered) == refused("engine.id_taken", "The id of this stock_count is already used.")
    assert (town.rows_of("stock_count"), shelf(town, town.tea)) == (kept, (8, 0))
