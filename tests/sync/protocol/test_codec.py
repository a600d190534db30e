"""Lines are read strictly: what is wrong is named by its class, nothing raises, and nothing is read two ways."""

from __future__ import annotations

import json
from string import ascii_uppercase
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.engine.chain import encode_bytes
from sync.kernel.changeset import ChangeSet, Operation
from sync.kernel.errors import (
    InvalidClockReading,
    InvalidId,
    LimitExceeded,
    Malformed,
    UnknownOperation,
)
from sync.kernel.ids import derived_id
from sync.modules import registry
from sync.modules.billing import TakePayment
from sync.modules.commerce import PickLine, PlaceOrder
from sync.modules.commerce.operations import LINES_MAX, OrderLine
from sync.protocol import limits
from sync.protocol.codec import ForeignLine, encode_change_set, parse_json, parse_line

TOWN, DEVICE, ACTOR, ORDER, PRODUCT = (derived_id("codec", what) for what in ("t", "d", "a", "o", "p"))
EPOCH = derived_id("codec", "epoch")
PICK = {"op": "pick.line", "id": derived_id("codec", "op"), "order": ORDER, "product": PRODUCT, "quantity": 3}
ANCHOR = {"server": "2026-11-21T08:00:00.000Z", "mono_ms": 902_114, "boot": "6c7b0f0e-boot"}
MANY_CURRENCIES = [f"{first}{second}A" for first in ascii_uppercase for second in ascii_uppercase[:8]]
SECRET = "Ada Lovelace 12 St James Square"
PLACED = {"product": PRODUCT, "quantity": 1}
PLACE = {"op": "order.place", "id": ORDER, "number": "1", "warehouse": PRODUCT, "customer_name": "c", "lines": [PLACED]}
LINE: dict[str, Any] = {
    "v": 1,
    "town": TOWN,
    "device": DEVICE,
    "seq": 7,
    "prev": encode_bytes(bytes(32)),
    "actor": ACTOR,
    "base": 41,
    "epoch": EPOCH,
    "at": "2026-11-21T08:15:02.114Z-0003",
    "ops": [PICK],
}


def read(line: bytes) -> ChangeSet | Malformed:
    return parse_line(line, town=TOWN, device=DEVICE, registry=registry()).change_set


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in LINE.items() if key != name}


def operation(**changes: Any) -> dict[str, Any]:
    return {**LINE, "ops": [{**PICK, **changes}]}


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", Malformed),
        (b"\xef\xbb\xbf{}", Malformed),
        (b"{}{}", Malformed),
        (b"[]", Malformed),
        (b"1", Malformed),
        (b'"text"', Malformed),
        (b"null", Malformed),
        (b"true", Malformed),
        (b'{"a":1,"a":1}', Malformed),
        (b'{"a":1,"\\u0061":2}', Malformed),
        (b'{"x":[{"a":1,"a":2}]}', Malformed),
        (b'{"a":NaN}', Malformed),
        (b'{"a":Infinity}', Malformed),
        (b'{"a":-Infinity}', Malformed),
        (b'{"a":1.0}', Malformed),
        (b'{"a":1e2}', Malformed),
        (b'{"a":1e400}', Malformed),
        (b'{"a":-0.0}', Malformed),
        (b'{"a":9007199254740992}', Malformed),
        (b'{"a":-9007199254740992}', Malformed),
        (b'{"a":' + b"9" * 5000 + b"}", Malformed),
        (b'{"a":01}', Malformed),
        (b'{"a":"\\ud800"}', Malformed),
        (b'{"\\udfff":1}', Malformed),
        (b'{"a":"\xff"}', Malformed),
        (b'{"a":"\xed\xa0\x80"}', Malformed),
        (b'{"a":"\xc0\xaf"}', Malformed),
        (b'{"a":"\x00"}', Malformed),
        (b'{"a":"\\u0000"}', Malformed),
        (b'{"a\\u0000":1}', Malformed),
        (b'{"a":"\n"}', Malformed),
        (b'{"a":1,}', Malformed),
        (b'{"a":1', Malformed),
        (b"<html>captive portal</html>", Malformed),
        (nested(limits.DEPTH_MAX + 1), LimitExceeded),
        (b"[" * 10_000 + b"]" * 10_000, Malformed),
        (nested(10_000), Malformed),
        (b'{"a":"' + b"x" * (limits.STRING_BYTES_MAX + 1) + b'"}', LimitExceeded),
        (b'{"a":"' + "ä".encode() * (limits.STRING_BYTES_MAX // 2 + 1) + b'"}', LimitExceeded),
        (b'{"' + b"x" * (limits.STRING_BYTES_MAX + 1) + b'":1}', LimitExceeded),
        (b'{"a":1}' + b" " * limits.LINE_BYTES_MAX, LimitExceeded),
    ],
    ids=lambda value: value[:24].decode(errors="backslashreplace") if isinstance(value, bytes) else value.__name__,
)
def test_bad_json_is_refused_by_name_and_its_text_is_not_repeated(raw: bytes, fault: type[Malformed]) -> None:
    with pytest.raises(Malformed) as refusal:
        parse_json(raw)

    assert type(refusal.value) is fault
    assert len(refusal.value.message) < 120
    assert "captive" not in refusal.value.message
    assert type(read(raw)) is fault


@pytest.mark.parametrize(
    "raw",
    [
        nested(limits.DEPTH_MAX),
        b'{"a":9007199254740991,"b":-9007199254740991}',
        b'{"a":"' + b"x" * limits.STRING_BYTES_MAX + b'"}',
        '{"a":"\U0001f600 \\ud83d\\ude00 \\u202e"}'.encode(),
        b' {"a" : [ 1 , true , null ] } ',
        b'{"a":{"b":1},"b":{"b":1}}',
    ],
    ids=["depth", "integers", "string", "emoji", "white space", "same key elsewhere"],
)
def test_what_is_just_within_the_limits_is_read(raw: bytes) -> None:
    assert parse_json(raw) == orjson.loads(raw)


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (without("town"), Malformed),
        (without("epoch"), Malformed),
        (without("ops"), Malformed),
        ({**LINE, "extra": 1}, Malformed),
        ({**LINE, "v": 2}, Malformed),
        ({**LINE, "v": "1"}, Malformed),
        ({**LINE, "seq": 0}, Malformed),
        ({**LINE, "seq": -1}, Malformed),
        ({**LINE, "seq": True}, Malformed),
        ({**LINE, "seq": "7"}, Malformed),
        ({**LINE, "seq": 2**63}, Malformed),
        ({**LINE, "prev": "short"}, Malformed),
        ({**LINE, "prev": None}, Malformed),
        ({**LINE, "prev": encode_bytes(bytes(31))}, Malformed),
        ({**LINE, "prev": encode_bytes(bytes(32)) + "="}, Malformed),
        ({**LINE, "base": -1}, Malformed),
        ({**LINE, "base": True}, Malformed),
        ({**LINE, "actor": None}, Malformed),
        ({**LINE, "actor": ACTOR.upper()}, InvalidId),
        ({**LINE, "town": TOWN.upper()}, InvalidId),
        ({**LINE, "epoch": "../../etc/passwd"}, InvalidId),
        ({**LINE, "town": derived_id("another")}, ForeignLine),
        ({**LINE, "device": derived_id("another")}, ForeignLine),
        ({**LINE, "at": "yesterday"}, InvalidClockReading),
        ({**LINE, "at": "0000-01-01T00:00:00.000Z-0000"}, InvalidClockReading),
        ({**LINE, "at": 7}, Malformed),
        ({**LINE, "anchor": []}, Malformed),
        ({**LINE, "anchor": {}}, Malformed),
        ({**LINE, "anchor": {**ANCHOR, "more": [{}] * 1000}}, Malformed),
        ({**LINE, "anchor": {**ANCHOR, "server": "yesterday"}}, Malformed),
        ({**LINE, "anchor": {**ANCHOR, "mono_ms": -1}}, Malformed),
        ({**LINE, "anchor": {**ANCHOR, "mono_ms": "5"}}, Malformed),
        ({**LINE, "anchor": {**ANCHOR, "boot": "x" * 65}}, Malformed),
        ({**LINE, "anchor": {**ANCHOR, "boot": {}}}, Malformed),
        ({**LINE, "seen": "all"}, Malformed),
        ({**LINE, "seen": {"version": 5}}, Malformed),
        ({**LINE, "seen": {"version": 5, "journal": "short"}}, Malformed),
        ({**LINE, "seen": {"version": True, "journal": LINE["prev"]}}, Malformed),
        ({**LINE, "totals": []}, Malformed),
        ({**LINE, "totals": {"KES": {"in": "1.00"}}}, Malformed),
        ({**LINE, "totals": {"KES": {"in": 1, "out": 0}}}, Malformed),
        ({**LINE, "totals": {"KES": {"in": "-1.00", "out": "0.00"}}}, Malformed),
        ({**LINE, "totals": {"KES": {"in": "1e9", "out": "0.00"}}}, Malformed),
        ({**LINE, "totals": {"KES": {"in": "1.00", "out": "0.00", "more": "1.00"}}}, Malformed),
        ({**LINE, "totals": {"kes": {"in": "1.00", "out": "0.00"}}}, Malformed),
        ({**LINE, "totals": {code: {"in": "1.00", "out": "0.00"} for code in MANY_CURRENCIES}}, Malformed),
        ({**LINE, "ops": []}, LimitExceeded),
        ({**LINE, "ops": {}}, LimitExceeded),
        ({**LINE, "ops": [PICK] * (limits.OPERATIONS_MAX + 1)}, LimitExceeded),
        ({**LINE, "ops": ["pick.line"]}, Malformed),
        ({**LINE, "ops": [{key: value for key, value in PICK.items() if key != "id"}]}, Malformed),
        ({**LINE, "ops": [{key: value for key, value in PICK.items() if key != "op"}]}, Malformed),
        ({**LINE, "ops": [{key: value for key, value in PICK.items() if key != "quantity"}]}, Malformed),
        (operation(op="pick.everything"), UnknownOperation),
        (operation(op="__class__"), UnknownOperation),
        (operation(op=7), Malformed),
        (operation(surprise=1), Malformed),
        (operation(quantity="5"), Malformed),
        (operation(quantity=True), Malformed),
        (operation(quantity=None), Malformed),
        (operation(quantity=0), Malformed),
        (operation(quantity=-3), Malformed),
        (operation(quantity=1_000_001), Malformed),
        (operation(order=ORDER.upper()), Malformed),
        (operation(order="1; DROP TABLE orders"), Malformed),
        (operation(order=[ORDER]), Malformed),
        (operation(id=""), Malformed),
        (operation(id=ORDER.upper()), Malformed),
    ],
)
def test_a_line_that_says_something_else_is_named_by_its_fault(said: dict[str, Any], fault: type[Malformed]) -> None:
    assert type(read(orjson.dumps(said))) is fault


@pytest.mark.parametrize("amount", ["-1.00", "1,00", "1e3", "NaN", "1.00000", "", "01.00", "\u0661", 12, None])
def test_an_amount_is_a_decimal_string(amount: object) -> None:
    payment = {"op": "payment.take", "id": PICK["id"], "order": ORDER, "amount": amount, "currency": "KES"}

    assert type(read(orjson.dumps({**LINE, "ops": [payment]}))) is Malformed


def test_what_an_unreadable_line_claims_of_the_chain_is_kept_where_it_can_be_read() -> None:
    parsed = parse_line(orjson.dumps(operation(op="x.y")), town=TOWN, device=DEVICE, registry=registry())

    assert (parsed.claimed_seq, parsed.claimed_prev) == (7, bytes(32))
    lost_places: list[Any] = [{**LINE, "seq": 0}, {**LINE, "prev": ""}, []]
    for said in lost_places:
        lost = parse_line(orjson.dumps(said), town=TOWN, device=DEVICE, registry=registry())
        assert (lost.claimed_seq, lost.claimed_prev) == (None, None)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (operation(order=SECRET), "operation pick.line, order: string_pattern_mismatch"),
        (operation(**{SECRET: 1}), "operation pick.line, ?: extra_forbidden"),
        (operation(op=SECRET), "The operation is not known here; it may come from a newer version of the app."),
        ({**LINE, SECRET: 1}, "the change set has missing or unknown members"),
        (
            {**LINE, "ops": [{**PLACE, "lines": [{**PLACED, SECRET: 1}]}]},
            "operation order.place, lines.0.?: extra_forbidden",
        ),
        (
            {**LINE, "ops": [{**PLACE, "lines": [PLACED, {**PLACED, "quantity": SECRET}]}]},
            "operation order.place, lines.1.quantity: int_type",
        ),
        ({**LINE, "anchor": {**ANCHOR, SECRET: 1}}, "the change set, anchor.?: extra_forbidden"),
        ({**LINE, "totals": {SECRET: {"in": "1", "out": "1"}}}, "the change set, totals.?.?: string_pattern_mismatch"),
        (
            {**LINE, "totals": {"KES": {"in": "1", "out": SECRET}}},
            "the change set, totals.?.out: string_pattern_mismatch",
        ),
    ],
)
def test_a_fault_is_told_in_names_of_ours_and_positions_only(said: dict[str, Any], told: str) -> None:
    problem = read(orjson.dumps(said))

    assert isinstance(problem, Malformed)
    assert problem.message == told


@pytest.mark.parametrize(
    "line", [b"{", b'{"seq":0}', orjson.dumps(operation(op="x.y")), orjson.dumps(operation(id=""))]
)
def test_a_fault_that_is_kept_does_not_keep_what_was_read(line: bytes) -> None:
    problem = read(line)

    assert isinstance(problem, Malformed)
    assert (problem.__traceback__, problem.__context__, problem.__cause__) == (None, None, None)


def test_circumstances_that_fit_are_kept_as_they_were_said() -> None:
    totals = {"KES": {"in": "99999999999999999999.99", "out": "0"}, "JPY": {"in": "0", "out": "12"}}
    seen = {"version": 40, "journal": LINE["prev"]}

    change_set = read(orjson.dumps({**LINE, "anchor": ANCHOR, "totals": totals, "seen": seen}))

    assert isinstance(change_set, ChangeSet)
    assert (change_set.anchor, change_set.totals, change_set.seen) == (ANCHOR, totals, seen)


def test_operations_that_fit_into_a_plain_body_are_never_too_many() -> None:
    shortest = orjson.dumps({"op": "a", "id": ORDER})

    assert limits.EXCHANGE_OPERATIONS_MAX * len(shortest) > limits.BODY_WIRE_BYTES_MAX


def test_a_change_set_that_is_too_long_is_not_written() -> None:
    line = OrderLine(product=PRODUCT, quantity=1)
    order = PlaceOrder(id=ORDER, number="1", warehouse=PRODUCT, customer_name="c", lines=[line] * LINES_MAX)

    with pytest.raises(LimitExceeded, match=str(limits.LINE_BYTES_MAX)):
        encode_change_set(change_set((order,) * 3))


def test_the_longest_order_fits_into_one_change_set() -> None:
    price = "9" * 12 + ".9999"
    wanted = OrderLine(product=PRODUCT, quantity=1_000_000, price=price)
    texts = dict.fromkeys(("customer_name", "phone", "address"), "\x1f" * 500)
    order = PlaceOrder(
        id=ORDER, number="\x1f" * 40, warehouse=PRODUCT, lines=[wanted] * LINES_MAX, payment_method="account", **texts
    )
    head = {"server": LINE["at"], "mono_ms": limits.INTEGER_MAX, "boot": ORDER}
    seen = {"version": limits.INTEGER_MAX, "journal": LINE["prev"]}
    totals = {"GBP": {"in": price, "out": price}}

    line = encode_change_set(change_set((order,), seq=limits.INTEGER_MAX, anchor=head, seen=seen, totals=totals))

    assert len(line) > limits.LINE_BYTES_MAX * 9 // 10


def change_set(ops: tuple[Operation, ...], **changes: Any) -> ChangeSet:
    header = {name: LINE[name] for name in ("town", "device", "seq", "prev", "actor", "base", "epoch", "at")}
    return ChangeSet(**{**header, "ops": ops, **changes})


IDS = st.integers(min_value=0, max_value=99).map(lambda number: derived_id("any", number))
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
AMOUNTS = st.integers(0, 10**9).map(lambda minor: f"{minor // 100}.{minor % 100:02}")
QUANTITIES = st.integers(1, 1_000_000)
ANCHORS = {"server": st.just(ANCHOR["server"]), "boot": st.text(min_size=1, max_size=64, alphabet="0123456789abcdef-")}
LINES = st.builds(OrderLine, product=IDS, quantity=QUANTITIES, price=st.none() | AMOUNTS)
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(PickLine, id=IDS, order=IDS, product=IDS, quantity=QUANTITIES),
    st.builds(TakePayment, id=IDS, order=IDS, amount=AMOUNTS, currency=st.sampled_from(["KES", "GBP"])),
    st.builds(
        PlaceOrder,
        id=IDS,
        number=st.text("0123456789A-", min_size=1, max_size=40),
        warehouse=IDS,
        customer_name=TEXTS,
        address=TEXTS,
        lines=st.lists(LINES, min_size=1, max_size=5),
        payment_method=st.sampled_from(["cod", "account"]),
    ),
)


@given(
    st.lists(OPERATIONS, min_size=1, max_size=5).map(tuple),
    st.integers(1, limits.INTEGER_MAX),
    st.integers(0, limits.INTEGER_MAX),
    st.dictionaries(st.sampled_from(["KES", "GBP"]), st.fixed_dictionaries({"in": AMOUNTS, "out": AMOUNTS})),
    st.none() | st.fixed_dictionaries({**ANCHORS, "mono_ms": st.integers(0, 10**9)}),
)
@settings(deadline=None)
def test_what_is_written_is_read_back_as_it_was(
    ops: tuple[Operation, ...], seq: int, base: int, totals: dict[str, dict[str, str]], anchor: dict[str, Any] | None
) -> None:
    written = change_set(ops, seq=seq, base=base, totals=totals, anchor=anchor)

    assert read(encode_change_set(written)) == written


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_no_bytes_make_the_reader_raise(raw: bytes) -> None:
    assert isinstance(read(raw), Malformed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.sampled_from([*LINE, *PICK]), JSON)
@settings(max_examples=300, deadline=None)
def test_no_value_of_any_member_makes_the_reader_raise(name: str, value: object) -> None:
    said = {**LINE, name: value} if name in LINE else operation(**{name: value})

    assert isinstance(read(json.dumps(said).encode()), ChangeSet | Malformed)
