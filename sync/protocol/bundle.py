"""Lines on another way than the exchange: what a device could not send any more, packed to be sealed for the server.

A bundle is the exact bytes of lines of one device from a position on, each with the device's signature over the head
that it makes, so any part of it from the beginning can be believed by itself. Packed with zlib, bounded when unpacked.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sync.engine.chain import head_message, is_signed, line_hash, parse_public_key
from sync.kernel.errors import LimitExceeded, Malformed
from sync.kernel.ids import Id
from sync.protocol import limits
from sync.protocol.messages import Digest, Signature

PURPOSE = "lines of a device"
"""What bundles are sealed for: nothing else that was sealed for the server opens as one."""


class _Head(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bundle: Annotated[int, Field(ge=1, le=1)]
    town: Id
    device: Id
    from_seq: Annotated[int, Field(ge=1, le=limits.INTEGER_MAX)]
    signatures: Annotated[list[Signature], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """Lines of one device from position `from_seq` on, in order, and its signature over each head."""

    town: str
    device: str
    from_seq: int
    lines: Sequence[bytes]
    signatures: Sequence[str]

    @property
    def to_seq(self) -> int:
        """The position of the last line."""
        return self.from_seq + len(self.lines) - 1

    def first(self, count: int) -> Bundle:
        """The same with its first `count` lines only."""
        return Bundle(
            town=self.town,
            device=self.device,
            from_seq=self.from_seq,
            lines=self.lines[:count],
            signatures=self.signatures[:count],
        )

    def is_by(self, public_key: str) -> bool:
        """Whether the device with this key has signed the head of every line; raises `Malformed` for what is no key."""
        key = parse_public_key(public_key)
        return all(
            is_signed(key, signature, head_message(self.device, self.from_seq + place, line_hash(line)))
            for place, (line, signature) in enumerate(zip(self.lines, self.signatures, strict=True))
        )


def pack(bundle: Bundle) -> bytes:
    """The bundle as bytes, to be sealed."""
    head = {
        "bundle": 1,
        "town": bundle.town,
        "device": bundle.device,
        "from_seq": bundle.from_seq,
        "signatures": list(bundle.signatures),
    }
    return zlib.compress(b"\n".join([orjson.dumps(head), *bundle.lines]))


def unpack(packed: bytes, bytes_max: int = limits.RESCUE_BYTES_MAX) -> Bundle:
    """The inverse of `pack`. Raises `Malformed`, and `LimitExceeded` for more than `bytes_max` when inflated."""
    raw = _inflated(packed, bytes_max)
    try:
        head = _Head.model_validate_json(raw.partition(b"\n")[0])
    except ValidationError:
        raise Malformed("the bundle has no head that can be read") from None
    if raw.count(b"\n") != len(head.signatures):  # counted first: splitting makes an object of every line
        raise Malformed("the bundle has not one signature for each line")
    lines = raw.split(b"\n")[1:]
    if any(len(line) > limits.LINE_BYTES_MAX for line in lines):
        raise LimitExceeded(f"a change set is at most {limits.LINE_BYTES_MAX} bytes")
    return Bundle(
        town=head.town, device=head.device, from_seq=head.from_seq, lines=lines, signatures=tuple(head.signatures)
    )


def _inflated(packed: bytes, bytes_max: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, bytes_max + 1)
    except zlib.error:
        raise Malformed("the bundle is not zlib") from None
    if len(raw) > bytes_max:
        raise LimitExceeded(f"a bundle is at most {bytes_max} bytes")
    if not inflater.eof or inflater.unused_data:
        raise Malformed("the bundle is cut, or has something behind it")
    return raw


class SealedClaim(BaseModel):
    """The first line of a sealed upload: which lines are in the box, signed by the device that they are of."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    from_seq: Annotated[int, Field(ge=1, le=limits.INTEGER_MAX)]
    to_seq: Annotated[int, Field(ge=1, le=limits.INTEGER_MAX)]
    head: Digest
    box: Digest
    sig: Signature


def sealed_message(*, town: str, device: str, from_seq: int, to_seq: int, head: str, box: str) -> bytes:
    """What a device signs when it uploads a sealed bundle; `box` is the SHA-256 of the sealed bytes in base64url."""
    return f"tallystick/sealed-lines/1\n{town}\n{device}\n{from_seq}\n{to_seq}\n{head}\n{box}".encode()


def receipt_message(town: str, device: str, to_seq: int, head: str) -> bytes:
    """What the server signs when it holds the sealed lines up to this one for good."""
    return f"tallystick/sealed-receipt/1\n{town}\n{device}\n{to_seq}\n{head}".encode()


def wipe_message(town: str, device: str, at: str) -> bytes:
    """What the server signs to have a revoked device seal its lines, send them and wipe itself."""
    return f"tallystick/wipe/1\n{town}\n{device}\n{at}".encode()
