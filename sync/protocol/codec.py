"""Reading and writing lines: strict, bounded JSON, and the change set as bytes.

Refused everywhere: invalid UTF-8, lone surrogates, NUL, duplicate keys, floats, NaN, integers beyond 2^53, deep
nesting, long strings. A fault names what is wrong and never repeats the input: neither a value nor a member's name that
is not one of ours, since verdicts and logs keep what it says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from sync.engine.chain import HASH_BYTES, decode_bytes
from sync.kernel.changeset import ChangeSet, Operation, Replaced
from sync.kernel.clock import Hlc
from sync.kernel.errors import LimitExceeded, Malformed
from sync.kernel.ids import parse_id
from sync.kernel.module import Registry
from sync.protocol import limits
from sync.protocol.messages import Circumstances

Model = TypeVar("Model", bound=BaseModel)

LINE_VERSION = 1
_HEADER = frozenset(("v", "town", "device", "seq", "prev", "actor", "base", "epoch", "at", "ops"))
_OPTIONAL = frozenset(Circumstances.model_fields)

_PLACE_MAX = 6
"""How far down a fault is told."""


class ForeignLine(Malformed):
    """The change set names another town or another device than the one that sent it."""

    code = "foreign_line"


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedLine:
    """A line as far as it can be read: the place it claims in the chain, and what it says or why that is unreadable."""

    claimed_seq: int | None
    claimed_prev: bytes | None
    change_set: ChangeSet | Malformed


def parse_json(raw: bytes, bytes_max: int = limits.LINE_BYTES_MAX) -> dict[str, Any]:
    """One JSON object from outside; raise `Malformed` or `LimitExceeded`."""
    if len(raw) > bytes_max:
        raise LimitExceeded(f"a line of {len(raw)} bytes is longer than {bytes_max}")
    try:
        orjson.loads(raw)  # strict about UTF-8, surrogates and numbers, but takes the last of duplicate keys
        value = _DECODER.decode(raw.decode())
    except (ValueError, RecursionError) as problem:
        raise Malformed(f"not readable as JSON: {_reason(problem)}") from None
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    if _may_exceed(raw):
        _check_value(value, 1)
    return value


def encode_change_set(change_set: ChangeSet) -> bytes:
    """The line of a change set, without a newline. Called once per change set; afterwards only the bytes count."""
    said: dict[str, Any] = {
        "v": LINE_VERSION,
        "town": change_set.town,
        "device": change_set.device,
        "seq": change_set.seq,
        "prev": change_set.prev,
        "actor": change_set.actor,
        "base": change_set.base,
        "epoch": change_set.epoch,
        "at": change_set.at,
    }
    if change_set.anchor:
        said["anchor"] = dict(change_set.anchor)
    if change_set.totals:
        said["totals"] = {currency: dict(sums) for currency, sums in change_set.totals.items()}
    if change_set.seen:
        said["seen"] = dict(change_set.seen)
    if change_set.replaces:
        said["replaces"] = _replaced_said(change_set.replaces, change_set.device)
    if change_set.receipt:
        said["receipt"] = change_set.receipt
    if change_set.receipts:
        said["receipts"] = change_set.receipts
    said["ops"] = [{"op": op.op, **op.model_dump(mode="json", exclude_defaults=True)} for op in change_set.ops]
    line = orjson.dumps(said)
    if len(line) > limits.LINE_BYTES_MAX:
        raise LimitExceeded(f"the change set takes {len(line)} bytes; at most {limits.LINE_BYTES_MAX} can be sent")
    return line


def parse_line(line: bytes, *, town: str, device: str, registry: Registry) -> ParsedLine:
    """Read a line that `device` of `town` sent; never raises: what cannot be read says so."""
    try:
        said = parse_json(line)
        seq, prev = _whole(said.get("seq"), 1), decode_bytes(_text(said.get("prev")), HASH_BYTES)
    except Malformed as problem:
        return ParsedLine(claimed_seq=None, claimed_prev=None, change_set=_alone(problem))
    try:
        change_set: ChangeSet | Malformed = _change_set(said, registry)
        if isinstance(change_set, ChangeSet) and (change_set.town, change_set.device) != (town, device):
            change_set = ForeignLine()
    except Malformed as problem:
        change_set = _alone(problem)
    return ParsedLine(claimed_seq=seq, claimed_prev=prev, change_set=change_set)


def _alone(problem: Malformed) -> Malformed:
    """The fault as a value, without the frames that raised it: they hold everything that was read."""
    problem.__context__ = None
    return problem.with_traceback(None)


def read_as(kind: type[Model], said: dict[str, Any], what: str) -> Model:
    """`said` as a `kind`, read strictly; raise `Malformed` that says where in `what` the first fault is.

    The place is told in names of ours and positions, the fault by its kind: a name that the sender chose becomes `?`,
    and what validators say in their own words is left out.
    """
    try:
        return kind.model_validate(said)
    except ValidationError as problem:
        first = problem.errors(include_input=False, include_url=False, include_context=False)[0]
        names = _names(kind)
        place = [str(part) if isinstance(part, int) or part in names else "?" for part in first["loc"][:_PLACE_MAX]]
        raise Malformed(f"{what}, {'.'.join(place)}: {first['type']}") from None


@cache
def _names(kind: type[BaseModel]) -> frozenset[str]:
    """The members of a model and of everything in it."""
    schema = kind.model_json_schema()
    models = [schema, *schema.get("$defs", {}).values()]
    return frozenset(name for model in models for name in model.get("properties", {}))


def _change_set(said: dict[str, Any], registry: Registry) -> ChangeSet:
    keys = said.keys()
    if said.get("v") != LINE_VERSION or not keys >= _HEADER or not keys <= _HEADER | _OPTIONAL:
        raise Malformed("the change set has missing or unknown members")
    operations = said["ops"]
    if not isinstance(operations, list) or not 1 <= len(operations) <= limits.OPERATIONS_MAX:
        raise LimitExceeded(f"a change set holds 1 to {limits.OPERATIONS_MAX} operations")
    at = _text(said["at"])
    Hlc.parse(at)
    told = {name: said[name] for name in _OPTIONAL if said.get(name) is not None}
    if told:
        read_as(Circumstances, told, "the change set")
    return ChangeSet(
        town=parse_id(_text(said["town"])),
        device=parse_id(_text(said["device"])),
        seq=said["seq"],
        prev=said["prev"],
        actor=parse_id(_text(said["actor"])),
        base=_whole(said["base"], 0),
        epoch=parse_id(_text(said["epoch"])),
        at=at,
        ops=tuple(_operation(operation, registry) for operation in operations),
        totals=told.get("totals", {}),
        anchor=told.get("anchor"),
        seen=told.get("seen"),
        replaces=Replaced(**{"device": said["device"], **told["replaces"]}) if "replaces" in told else None,
        receipt=told.get("receipt"),
        receipts=told.get("receipts", 0),
    )


def _replaced_said(replaced: Replaced, device: str) -> dict[str, Any]:
    said = {"seq": replaced.seq, "hash": replaced.hash}
    return said if replaced.device == device else {"device": replaced.device, **said}


def _operation(said: object, registry: Registry) -> Operation:
    if not isinstance(said, dict):
        raise Malformed("an operation is not an object")
    fields = dict(said)
    kind = registry.operation(_text(fields.pop("op", None)))
    if "id" not in fields:
        raise Malformed(f"operation {kind.op} has no id")
    return read_as(kind, fields, f"operation {kind.op}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Malformed("a member of the header is not a string")
    return value


def _whole(value: object, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise Malformed(f"a member of the header is not a whole number from {least} up")
    return value


def _may_exceed(raw: bytes) -> bool:
    """Whether a walk over the value could find anything: each test is necessary for the fault it stands for."""
    return (
        len(raw) > limits.STRING_BYTES_MAX
        or raw.count(b"{") + raw.count(b"[") > limits.DEPTH_MAX
        or b"\\u0000" in raw
        or _LONG_NUMBER.search(raw) is not None
    )


def _check_value(value: object, depth: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise Malformed("a string holds NUL")
        if len(value) * 4 > limits.STRING_BYTES_MAX and len(value.encode()) > limits.STRING_BYTES_MAX:
            raise LimitExceeded(f"a string is longer than {limits.STRING_BYTES_MAX} bytes")
    elif isinstance(value, int):
        if abs(value) > limits.INTEGER_MAX:
            raise Malformed("an integer is beyond 2^53")
    elif isinstance(value, dict | list):
        if depth > limits.DEPTH_MAX:
            raise LimitExceeded(f"nested deeper than {limits.DEPTH_MAX}")
        for part in value.values() if isinstance(value, dict) else value:
            _check_value(part, depth + 1)
        for key in value if isinstance(value, dict) else ():
            _check_value(key, depth + 1)


_LONG_NUMBER = re.compile(rb"[0-9]{16}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def _refuse(what: str) -> Callable[[str], NoReturn]:
    def refuse(_text: str) -> NoReturn:
        raise ValueError(what)

    return refuse


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_refuse("a number is not whole"), parse_constant=_refuse("a number is not")
)


def _reason(problem: Exception) -> str:
    if isinstance(problem, RecursionError):
        return "nested too deeply"
    if isinstance(problem, json.JSONDecodeError):
        return f"position {problem.pos}"
    return str(problem)[:80] if type(problem) is ValueError else "invalid text or number"
