"""Is an exported journal whole and unaltered? Asked by an auditor, on another machine, of nothing but the file.

Each line is looked at once and forgotten; what is kept is a few values for each device. No rule is run: that the
verdicts follow from the rules is for `tallystick verify`, where the tables are. Here it is proven that this is what the
devices signed and what the server answered, all of it, in this order.

What is altered is told with its line in the file. A hash that does not fit is told once: what follows is held against
what the journal names, so one altered byte is one finding and not a thousand.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import ValidationError

from server.application.queries.export_journal import FORMAT, export_message
from server.domain.audit import Amounts, read_certificate, ring_of
from server.domain.devices import server_device_id
from sync.engine.chain import (
    HASH_BYTES,
    decode_bytes,
    encode_bytes,
    epoch_message,
    genesis_hash,
    head_message,
    is_journal_signed,
    is_signed,
    journal_hash,
    line_hash,
    parse_public_key,
    verdict_hash,
)
from sync.engine.keyring import KeyForged
from sync.engine.replay import Finding
from sync.kernel.changeset import Status
from sync.kernel.errors import InvalidId, Malformed, TallystickError
from sync.kernel.ids import parse_id
from sync.protocol.messages import KeysAnswer

FINDINGS_MAX = 200


class NotAJournal(TallystickError):
    """This is not a journal that `tallystick journal export` has written."""

    code = "not_a_journal"


@dataclass(kw_only=True, slots=True)
class _Device:
    """A device of the town, and where its chain and its running totals stand."""

    public_key: str
    before: str
    seq: int = 0
    unsigned_from: int | None = None
    amounts: Amounts = field(default_factory=Amounts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What the file says of itself, and what does not fit; `unsigned` are tails of chains that no head covers."""

    town: str
    name: str
    at: str
    version: int
    journal: str
    keys: tuple[str, ...]
    verdicts: Mapping[str, int]
    devices: int
    findings: tuple[Finding, ...]
    unsigned: tuple[Finding, ...]


class JournalCheck:
    """Takes the lines of one file in order; `result` when there is no more."""

    def __init__(self, trusted: str | None) -> None:
        """`trusted` is a public key of the server as it was published; without one the file's own keys are believed."""
        self._trusted = trusted
        self._number = 0
        self._digest = hashlib.sha256()
        self._town = self._at = self._name = ""
        self._keys: Mapping[str, str] = {}
        self._devices: dict[str, _Device] = {}
        self._marks: dict[str, dict[str, Any]] = {}
        self._awaited: list[Any] = []
        self._awaited_places: set[tuple[str, int]] = set()
        self._version, self._journal, self._epoch = 0, encode_bytes(bytes(32)), ""
        self._verdicts: Counter[str] = Counter()
        self._end: dict[str, Any] | None = None
        self._findings: list[Finding] = []
        self._takers: Mapping[str, Callable[[dict[str, Any]], None]] = {
            "device": self._take_device,
            "epoch": self._take_epoch,
            "entry": self._take_entry,
            "set": self._take_set,
            "end": self._take_end,
        }

    @property
    def is_hopeless(self) -> bool:
        """Whether so much is wrong that the rest says nothing more."""
        return len(self._findings) > FINDINGS_MAX

    def take(self, line: bytes) -> None:
        """The next line, without its newline. Raises `NotAJournal` when the first is not the head of an export."""
        self._number += 1
        said = _read(line)
        if not self._town:
            self._open(said)
        elif self._end is not None:
            self._find("something follows the end")
        elif said is None or said.get("t") not in self._takers:
            self._find("it cannot be read")
        else:
            try:
                self._takers[said["t"]](said)
            except (KeyError, TypeError, ValueError, AttributeError, Malformed):
                self._find("it is not built as an export builds it")
        if self._end is None:
            self._digest.update(line + b"\n")

    def result(self) -> Checked:
        """What came of it. Raises `NotAJournal` for a file without lines."""
        if not self._town:
            raise NotAJournal
        self._close_entry()
        if self._end is None and not self.is_hopeless:
            self._number += 1
            self._find("missing: the end of the file, signed by the server")
        return Checked(
            town=self._town,
            name=self._name,
            at=self._at,
            version=self._version,
            journal=self._journal,
            keys=tuple(self._keys.values()),
            verdicts=dict(self._verdicts),
            devices=len(self._devices),
            findings=tuple(self._findings[:FINDINGS_MAX]),
            unsigned=tuple(
                Finding(
                    where=f"device {device_id}", what=f"no signed head covers its lines from {one.unsigned_from} on"
                )
                for device_id, one in self._devices.items()
                if one.unsigned_from is not None
            ),
        )

    def _open(self, said: dict[str, Any] | None) -> None:
        if said is None or (said.get("t"), said.get("v")) != ("journal", FORMAT):
            raise NotAJournal
        try:
            keys = KeysAnswer.model_validate({"keys": said["keys"]}).keys
            self._town, self._at = parse_id(said["town"]), str(said["at"])
            self._keys = ring_of(keys, self._trusted)
        except (KeyError, ValidationError, InvalidId, TypeError):
            raise NotAJournal from None
        except KeyForged:
            self._keys = {key.kid: key.public_key for key in keys}
            self._find("the keys are not those that were published, each endorsed by the one before it")

    def _take_device(self, said: dict[str, Any]) -> None:
        device_id, public_key, certificate = str(said["device"]), str(said["public_key"]), str(said["certificate"])
        claims = read_certificate(certificate, self._keys)
        told = {"sub": device_id, "town": self._town, "key": public_key}
        if claims is None:
            self._find(f"the certificate of device {device_id} is not the server's")
        elif {name: claims.get(name) for name in told} != told:
            self._find(f"the certificate of device {device_id} is about another device, town or key")
        if device_id in self._devices or self._version:
            self._find(f"device {device_id} is told again, or behind what it did")
            return
        parse_public_key(public_key)
        before = encode_bytes(genesis_hash(certificate))
        self._devices[device_id] = _Device(public_key=public_key, before=before)

    def _take_epoch(self, said: dict[str, Any]) -> None:
        message = epoch_message({"town": self._town, **said})
        if not self._is_by_server(said["sig"], message):
            self._find(f"the beginning of epoch {said['epoch']} is not what the server has signed")
        if said["epoch"] in self._marks or self._version:
            self._find(f"epoch {said['epoch']} is told again, or behind what it began")
            return
        self._marks[said["epoch"]] = said

    def _take_entry(self, said: dict[str, Any]) -> None:
        self._close_entry()
        version, named = said["version"], str(said["hash"])
        place, body_bytes = f"journal version {version}", _bytes(said["body"])
        body = _read(body_bytes) or {}
        if encode_bytes(journal_hash(body_bytes)) != named:
            self._find(f"{place}: its bytes do not give its hash")
        if version != self._version + 1:
            self._find(f"{place}: it follows version {self._version}")
        elif (body.get("town"), body.get("version"), body.get("prev")) != (self._town, version, self._journal):
            self._find(f"{place}: it does not follow on from the entry before it")
        epoch = str(body.get("epoch"))
        keys = [parse_public_key(key) for key in self._keys.values()]
        digest = decode_bytes(named, HASH_BYTES)
        if not is_journal_signed(keys, said["sig"], town=self._town, epoch=epoch, version=version, digest=digest):
            self._find(f"{place}: its signature is not the server's")
        if self._epoch and epoch != self._epoch:
            self._check_epoch(epoch, place)
        self._awaited = list(body.get("sets", ()))[::-1]
        self._awaited_places = {(one[0], one[1]) for one in self._awaited}
        self._version, self._journal, self._epoch = version, named, epoch

    def _check_epoch(self, epoch: str, place: str) -> None:
        told = {"epoch": epoch, "before": self._epoch, "version": self._version, "journal": self._journal}
        mark = self._marks.get(epoch, {})
        if {name: mark.get(name) for name in told} != told:
            self._find(f"{place}: it begins epoch {epoch}, and no signed record says so")

    def _take_set(self, said: dict[str, Any]) -> None:
        device_id, seq = said["device"], said["seq"]
        place, line, verdict = f"change set {seq} of device {device_id}", _bytes(said["line"]), _bytes(said["verdict"])
        if (device_id, seq) not in self._awaited_places:
            self._find(f"{place}: journal version {self._version} does not name it, or not twice")
            return
        while self._awaited[-1][:2] != [device_id, seq]:
            self._miss(*self._next_awaited())
        *_, line_named, verdict_named = self._next_awaited()
        if encode_bytes(line_hash(line)) != line_named:
            self._find(f"{place}: its bytes are not those that journal version {self._version} names")
        if encode_bytes(verdict_hash(verdict)) != verdict_named:
            self._find(f"{place}: its verdict is not the one that journal version {self._version} names")
        status = str((_read(verdict) or {}).get("status"))
        self._verdicts[status] += 1
        device = self._devices.get(device_id)
        if device is None:
            self._find(f"{place}: there is no certificate of its device")
            return
        read = _read(line) or {}
        if self._version == 1:
            self._name = str(read["ops"][0]["name"])
        if seq != device.seq + 1:
            self._find(f"{place}: it follows position {device.seq}")
        elif (read.get("seq", seq), read.get("prev", device.before)) != (seq, device.before):
            self._find(f"{place}: it does not follow on from the line before it")
        device.seq, device.before = seq, line_named
        self._check_head(place, device, said)
        if wrong := device.amounts.take(read, is_read=status != Status.QUARANTINED):
            self._find(f"{place}: {wrong}")

    def _check_head(self, place: str, device: _Device, said: dict[str, Any]) -> None:
        """The device's signature over where this line brings its chain; only the last one of an upload has one."""
        if said["sig"] is None:
            device.unsigned_from = device.unsigned_from or device.seq
            if said["device"] == server_device_id(self._town):
                self._find(f"{place}: the server signs each of its own lines, and this one is not signed")
            return
        device.unsigned_from = None
        message = head_message(said["device"], device.seq, decode_bytes(device.before, HASH_BYTES))
        is_server = said["device"] == server_device_id(self._town) and self._is_by_server(said["sig"], message)
        if not is_server and not is_signed(parse_public_key(device.public_key), said["sig"], message):
            self._find(f"{place}: its signature is not its device's")

    def _take_end(self, said: dict[str, Any]) -> None:
        self._close_entry()
        change_sets = sum(self._verdicts.values())
        if (said["version"], said["sets"]) != (self._version, change_sets):
            told = f"the end is of version {said['version']} and {said['sets']} change sets"
            self._find(f"{told}, the file has come to {self._version} and {change_sets}")
        elif (said["journal"], said["at"]) != (self._journal, self._at):
            self._find("the end is of another journal or time than the rest")
        elif said["lines"] != encode_bytes(self._digest.digest()) and not self._findings:
            self._find("a line was added, removed or altered beside what the journal names: the end is of other lines")
        message = export_message(self._town, said["version"], said["journal"], said["at"], said["lines"])
        newest = parse_public_key(list(self._keys.values())[-1])
        if not is_signed(newest, said["sig"], message):
            self._find("the server's newest key has not signed this end")
        self._end = said

    def _close_entry(self) -> None:
        while self._awaited:
            self._miss(*self._next_awaited())

    def _next_awaited(self) -> list[Any]:
        named: list[Any] = self._awaited.pop()
        self._awaited_places.discard((named[0], named[1]))
        return named

    def _miss(self, device_id: str, seq: int, line_named: str, _verdict_named: str) -> None:
        self._find(f"missing: change set {seq} of device {device_id}, which journal version {self._version} names")
        if device := self._devices.get(device_id):
            device.seq, device.before = seq, line_named
            device.amounts.lose_count()

    def _is_by_server(self, signature: str, message: bytes) -> bool:
        return any(is_signed(parse_public_key(key), signature, message) for key in self._keys.values())

    def _find(self, what: str) -> None:
        if not self.is_hopeless:
            self._findings.append(Finding(where=f"line {self._number}", what=what))


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        said = orjson.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _bytes(told: str | dict[str, str]) -> bytes:
    if isinstance(told, str):
        return told.encode()
    text = told["base64url"]
    return decode_bytes(text, len(text) * 3 // 4)
