"""`POST /v1/towns/{town}/exchange`: change sets up, verdicts and rows down, ending in a checkpoint.

Everything that can be refused is refused before the answer starts, so that a refusal is a proper problem: token,
admission, body, evidence, decision, the first page. What fails later cuts the connection without a checkpoint, and the
device, which takes nothing without one, asks again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import orjson
import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server import metrics
from server.api.admission import AdmittedAnswer, Place
from server.api.body import LINES_TYPE, read_lines
from server.api.compress import chosen_encoding, encoded
from server.api.parts import Parts, parts_of
from server.api.problems import HistoryAltered, UpgradeRequired
from server.api.security import device_caller
from server.application.batch import Upload
from server.application.commands.issue_token import check_status
from server.application.ports import DeviceRecord, TownReader
from server.application.queries.exchange_page import Page, pages, receipt
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
from sync.kernel.errors import ChainBroken, ChainForked, Malformed
from sync.protocol.codec import parse_json, read_as
from sync.protocol.messages import Hello, HelloLine
from sync.protocol.version import PROTOCOLS_SERVED

router = APIRouter()
_log = structlog.stdlib.get_logger(__name__)


@router.post("/v1/towns/{town_id}/exchange")
async def post_exchange(request: Request, town_id: str) -> Response:
    """One exchange of the calling device."""
    parts = parts_of(request)
    caller = device_caller(request, parts, town_id)
    place = await parts.exchanges.enter(caller.device_id)
    try:
        return await _exchange(request, parts, caller, place)
    except BaseException:
        place.leave()
        raise


async def _exchange(request: Request, parts: Parts, caller: DeviceCaller, place: Place) -> AdmittedAnswer:
    hello_line, *lines = await read_lines(request, parts.body_limits)
    hello = _read_hello(hello_line)
    device, head = await _look_up(parts, caller, hello)
    _check_head(hello, lines, device)
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
    acked = max(device.head.seq, hello.head.seq if lines else 0)
    welcome = {
        "t": "welcome",
        "protocol": hello.protocol,
        "time": format_time(parts.system.now_ms()),
        "epoch": head.epoch,
        "acked": acked,
    }
    down = _pages(parts, caller, hello, lines)
    first = await anext(down)
    encoding = chosen_encoding(request.headers.get("accept-encoding", ""))
    headers = {"Vary": "Accept-Encoding"} | ({} if encoding == "identity" else {"Content-Encoding": encoding})
    blocks = _blocks([orjson.dumps(welcome), *verdicts], first, down)
    return AdmittedAnswer(encoded(blocks, encoding), place=place, media_type=LINES_TYPE, headers=headers)


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


async def _look_up(parts: Parts, caller: DeviceCaller, hello: Hello) -> tuple[DeviceRecord, TownHead]:
    """The device and the town's head in one snapshot, after the witness has been compared with the journal."""
    async with parts.towns.reading(caller.town_id) as reader:
        device = await reader.device(caller.device_id)
        if device is None:
            raise Unauthorized
        check_status(device)
        await _check_witness(reader, caller, hello)
        return device, reader.head


async def _check_witness(reader: TownReader, caller: DeviceCaller, hello: Hello) -> None:
    """Raise `HistoryAltered` when the server signed a journal head in this epoch that it does not have any more."""
    witness = hello.witness
    if witness is None or hello.epoch != reader.head.epoch:
        return
    entry = await reader.journal_entry(witness.version)
    if entry is None or encode_bytes(entry.digest) != witness.journal:
        _log.error(
            "history_altered",
            town_id=caller.town_id,
            device_id=caller.device_id,
            witness_version=witness.version,
            head_version=reader.head.version,
        )
        raise HistoryAltered


def _check_head(hello: Hello, lines: Sequence[bytes], device: DeviceRecord) -> None:
    """Check the device's signature over the last line it sends, or over where it stands when it sends none.

    Without lines its head may be ahead of ours (we were restored from a backup: it hears so in the welcome and sends
    again) but may not be another line in the same place. Raises `ChainBroken`, `ChainForked`.
    """
    claimed = hello.head
    if claimed.seq != hello.from_seq + len(lines) - 1:
        raise ChainBroken("the signed head is not at the position of the last line")
    digest = line_hash(lines[-1]) if lines else decode_bytes(claimed.hash, HASH_BYTES)
    if encode_bytes(digest) != claimed.hash:
        raise ChainBroken("the signed head is not the hash of the last line")
    key = parse_public_key(device.public_key)
    if not is_signed(key, claimed.sig, head_message(device.device_id, claimed.seq, digest)):
        raise ChainBroken("the signature over the head does not fit")
    if not lines and claimed.seq == device.head.seq and digest != device.head.digest:
        raise ChainForked(claimed.seq)


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


async def _pages(parts: Parts, caller: DeviceCaller, hello: Hello, lines: Sequence[bytes]) -> AsyncIterator[Page]:
    """What comes down: rows up to a checkpoint, or only a receipt while the device says that it has more to send."""
    if lines and hello.pending > len(lines):
        yield await receipt(parts.towns, caller.town_id)
        return
    async for page in pages(parts.towns, caller.town_id, caller.device_id, hello, page_rows=parts.page_rows):
        yield page


async def _blocks(opening: Sequence[bytes], first: Page, rest: AsyncIterator[Page]) -> AsyncIterator[bytes]:
    """The answer as blocks of whole lines, each ending in a checkpoint."""
    yield b"\n".join([*opening, *first.lines, b""])
    async for page in rest:
        yield b"\n".join([*page.lines, b""])
