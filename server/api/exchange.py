"""`POST /v1/towns/{town}/exchange`: change sets up, verdicts and rows down, ending in a checkpoint.

Everything that can be refused is refused before the answer starts, so that a refusal is a proper problem: token,
admission, body, evidence, decision, the first page. What fails later cuts the connection without a checkpoint, and the
device, which takes nothing without one, asks again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace

import orjson
import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from server import metrics
from server.api.admission import AdmittedAnswer, Place
from server.api.body import LINES_TYPE, read_lines
from server.api.compress import PIECE_BYTES, chosen_encoding, encoded, encoded_whole
from server.api.kept_aside import keep_aside, note_changed_verdicts
from server.api.parts import Parts, parts_of
from server.api.problems import UpgradeRequired
from server.api.rate_guard import counted_device
from server.application.batch import Upload
from server.application.commands.issue_token import check_status
from server.application.histories import Sight, look_at, sound_alarm
from server.application.history_ports import TownHalted
from server.application.leases import grant
from server.application.ports import DeviceRecord, TownReader
from server.application.queries.exchange_page import Page, Reading, pages, receipt
from server.application.queries.older_heads import in_older_form
from server.application.released import check_released
from server.domain.access import DeviceCaller, Unauthorized
from sync.engine.chain import (
    HASH_BYTES,
    decode_bytes,
    encode_bytes,
    head_message,
    is_signed,
    line_hash,
    parse_public_key,
)
from sync.engine.town import TownHead
from sync.kernel.clock import format_time, parse_time
from sync.kernel.errors import ChainBroken, ChainGap, Malformed
from sync.modules import registry
from sync.protocol.codec import parse_json, read_as
from sync.protocol.messages import Hello, HelloLine
from sync.protocol.version import EPOCH_IN_HEADS_SCHEMA, PROTOCOLS_SERVED

router = APIRouter()
_log = structlog.stdlib.get_logger(__name__)


@router.post("/v1/towns/{town_id}/exchange")
async def post_exchange(request: Request, town_id: str) -> Response:
    """One exchange of the calling device."""
    parts = parts_of(request)
    caller = await counted_device(request, parts, town_id, may_be_barred=True)
    place = await parts.exchanges.enter(caller.device_id, caller.town_id)
    try:
        return await _exchange(request, parts, caller, place)
    except BaseException:
        place.leave()
        raise


async def _exchange(request: Request, parts: Parts, caller: DeviceCaller, place: Place) -> AdmittedAnswer:
    hello_line, *lines = await read_lines(request, parts.body_limits)
    hello = _read_hello(hello_line)
    found = await _look_up(parts, caller, hello, lines)
    device, head, sight = found.device, found.head, found.sight
    if device.status != "active":
        await keep_aside(parts, device, hello, lines)
    lag_versions = _lag_versions(hello, head)
    metrics.count_device(pending=hello.pending, lag_versions=lag_versions)
    _log.info(
        "exchange",
        town_id=caller.town_id,
        device_id=caller.device_id,
        lines=len(lines),
        pending=hello.pending,
        lag_versions=lag_versions,
        sdk=hello.sdk,
        clock_skew_ms=parse_time(hello.clock) - parts.system.now_ms(),
    )
    verdicts = await _submit(parts, caller, hello, lines)
    if _has_nothing_more(hello, len(lines), device):
        await check_released(
            parts.towns.histories, caller.town_id, caller.device_id, fork=None, from_seq=hello.from_seq
        )
    if hello.told:
        await note_changed_verdicts(parts.appliers, caller, hello, verdicts)
    acked = max(device.head.seq, hello.head.seq if lines else 0)
    welcome = {
        "t": "welcome",
        "protocol": hello.protocol,
        "time": format_time(parts.system.now_ms()),
        "epoch": head.epoch,
        "acked": acked,
        "lease": grant(device, hello.clock, parts.system.now_ms(), registry=registry(), signer=parts.signer),
    }
    if sight.news:
        welcome["epochs"] = [{**record.mark(), "sig": record.signature} for record in sight.news]
    if found.down:
        first, down = found.down
    else:
        down = _as_known(parts, caller, hello, _pages(parts, caller, hello, lines, head))
        first = await anext(down)
    opening = [orjson.dumps(welcome), *verdicts]
    return AdmittedAnswer(_answer(request, opening, first, down), place=place)


def _answer(request: Request, opening: Sequence[bytes], first: Page, rest: AsyncIterator[Page]) -> Response:
    """One piece when it is small and whole, else streamed."""
    encoding = chosen_encoding(request.headers.get("accept-encoding", ""))
    headers = {"Vary": "Accept-Encoding"} | ({} if encoding == "identity" else {"Content-Encoding": encoding})
    block = b"\n".join([*opening, *first.lines, b""])
    if first.is_last and len(block) <= PIECE_BYTES:
        return Response(encoded_whole(block, encoding), media_type=LINES_TYPE, headers=headers)
    return StreamingResponse(encoded(_blocks(block, rest), encoding), media_type=LINES_TYPE, headers=headers)


def _lag_versions(hello: Hello, head: TownHead) -> int | None:
    """How far behind the device is; None when it has nothing of this history."""
    if not hello.cursors or hello.epoch != head.epoch:
        return None
    return max(0, head.version - min(hello.cursors.values()))


def _read_hello(line: bytes) -> Hello:
    said = parse_json(line)
    inner = said.get("hello")
    protocol = inner.get("protocol") if isinstance(inner, dict) else None
    # Asked before anything else is read: the hello of another protocol may have another shape.
    if isinstance(protocol, int) and protocol not in PROTOCOLS_SERVED:
        raise UpgradeRequired
    hello = read_as(HelloLine, said, "the first line").hello
    try:
        parse_time(hello.clock)
    except Malformed:
        raise Malformed("hello.clock is no time") from None
    return hello


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """The device, the town's head and what the device's witness comes to, as of one version.

    For a device that only asks, what comes `down` is read at once: the first page, and what follows it.
    """

    device: DeviceRecord
    head: TownHead
    sight: Sight
    down: tuple[Page, AsyncIterator[Page]] | None = None


async def _look_up(parts: Parts, caller: DeviceCaller, hello: Hello, lines: Sequence[bytes]) -> _Found:
    """Out of memory where that is enough, else from the store; the head of the device's chain is checked.

    Raises `Unauthorized`, `DeviceRevoked`, `TownHalted`, `HistoryAltered`, `ChainBroken`, `ChainGap`.
    """
    town = await parts.appliers.recent.current(caller.town_id, caller.device_id, hello)
    if town is None:
        return await _read_up(parts, caller, hello, lines)
    sight = await look_at(town, hello)
    if sight.is_alarming:
        return await _read_up(parts, caller, hello, lines)
    found = _Found(device=town.devices[caller.device_id], head=town.head, sight=sight)
    is_checked = not lines and town.checked.get(caller.device_id) == hello.head
    _check_head(hello, lines, found.device, is_signature_checked=is_checked)
    town.checked[caller.device_id] = hello.head
    return found


async def _read_up(parts: Parts, caller: DeviceCaller, hello: Hello, lines: Sequence[bytes]) -> _Found:
    """The same in one snapshot of the store."""
    async with parts.towns.reading(caller.town_id) as reader:
        device = await reader.device(caller.device_id)
        if device is None:
            raise Unauthorized
        if device.status == "revoked":
            check_status(device)
        if reader.is_halted:
            raise TownHalted
        found = _Found(device=device, head=reader.head, sight=await look_at(reader, hello))
        if not found.sight.is_alarming:
            _check_head(hello, lines, device)
        is_only_asking = not (lines or hello.told) and hello.head.seq == device.head.seq
        if is_only_asking and device.status == "active" and not found.sight.is_alarming:
            down = _as_known(parts, caller, hello, _down(parts, caller, hello, reader))
            found = replace(found, down=(await anext(down), down))
    if found.sight.is_alarming:
        await sound_alarm(
            found.sight,
            hello,
            caller.town_id,
            caller.device_id,
            towns=parts.towns,
            signer=parts.signer,
            system=parts.system,
        )
    if found.sight.lost_versions:
        _log.warning(
            "history_lost",
            town_id=caller.town_id,
            device_id=caller.device_id,
            epoch=hello.epoch,
            lost_versions=found.sight.lost_versions,
        )
    return found


def _check_head(
    hello: Hello, lines: Sequence[bytes], device: DeviceRecord, *, is_signature_checked: bool = False
) -> None:
    """Check the device's signature over the last line it sends, or over where it stands when it sends none.

    Without lines its head may be ahead of ours (we were restored from a backup: it hears so in the welcome and sends
    again). When it is another line in the same place, what it was answered is of a part of history that is lost, and
    another copy was here before it: it has to send that line, which is the evidence that a fork is judged by.
    Raises `ChainBroken`, `ChainGap`.
    """
    claimed = hello.head
    if claimed.seq != hello.from_seq + len(lines) - 1:
        raise ChainBroken("the signed head is not at the position of the last line")
    digest = line_hash(lines[-1]) if lines else decode_bytes(claimed.hash, HASH_BYTES)
    if encode_bytes(digest) != claimed.hash:
        raise ChainBroken("the signed head is not the hash of the last line")
    message = head_message(device.device_id, claimed.seq, digest)
    if not (is_signature_checked or is_signed(parse_public_key(device.public_key), claimed.sig, message)):
        raise ChainBroken("the signature over the head does not fit")
    if not lines and claimed.seq == device.head.seq and digest != device.head.digest:
        raise ChainGap(claimed.seq)


def _has_nothing_more(hello: Hello, lines: int, device: DeviceRecord) -> bool:
    """Whether a device can only go on by writing anew: it is behind, or what follows is on no copy that it knows of."""
    is_behind = hello.from_seq + hello.pending <= device.head.seq  # what it sent, if anything, was here already
    return is_behind or (not lines and hello.pending > 0)


async def _submit(parts: Parts, caller: DeviceCaller, hello: Hello, lines: Sequence[bytes]) -> Sequence[bytes]:
    if not lines:
        return []
    upload = Upload(
        town_id=caller.town_id,
        device_id=caller.device_id,
        from_seq=hello.from_seq,
        lines=lines,
        signature=hello.head.sig,
    )
    return await parts.appliers.submit(upload)


async def _pages(
    parts: Parts, caller: DeviceCaller, hello: Hello, lines: Sequence[bytes], head: TownHead
) -> AsyncIterator[Page]:
    """What comes down: rows up to a checkpoint, or only a receipt while the device says that it has more to send.

    The town stood at `head` at some moment of this exchange, and what was submitted since is remembered.
    """
    known = parts.appliers.recent.known(caller.town_id, caller.device_id, hello)
    is_enough = known is not None and known.head.epoch == head.epoch and known.head.version >= head.version
    reader = known if is_enough else None
    if lines and hello.pending > len(lines):
        yield await receipt(_reading(parts, caller, reader))
        return
    async for page in _down(parts, caller, hello, reader):
        yield page


def _as_known(parts: Parts, caller: DeviceCaller, hello: Hello, down: AsyncIterator[Page]) -> AsyncIterator[Page]:
    """The pages with heads that are signed in a form which the device knows."""
    return in_older_form(down, caller.town_id, parts.signer) if hello.schema_ < EPOCH_IN_HEADS_SCHEMA else down


def _down(parts: Parts, caller: DeviceCaller, hello: Hello, reader: TownReader | None) -> AsyncIterator[Page]:
    """Rows up to a checkpoint."""
    reading = _reading(parts, caller, reader)
    saw = parts.appliers.recent.saw
    return pages(reading, caller.device_id, hello, page_rows=parts.page_rows, saw=saw)


def _reading(parts: Parts, caller: DeviceCaller, reader: TownReader | None) -> Reading:
    """Opens a snapshot of the town for each page; `reader` is what the first one is read with, if it is there."""
    readers = [reader] if reader else []

    def reading() -> AbstractAsyncContextManager[TownReader]:
        return nullcontext(readers.pop()) if readers else parts.towns.reading(caller.town_id)

    return reading


async def _blocks(first: bytes, rest: AsyncIterator[Page]) -> AsyncIterator[bytes]:
    """The answer as blocks of whole lines, each ending in a checkpoint."""
    yield first
    async for page in rest:
        yield b"\n".join([*page.lines, b""])
