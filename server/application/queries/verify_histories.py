"""The part of `verify` about histories: the server's key vouches for where epochs began and why a town halted."""

from __future__ import annotations

from collections.abc import Sequence

from server.application.evidence import TownEvidence
from server.application.history_ports import Halt
from sync.engine.chain import encode_bytes, is_journal_signed, is_signed, parse_public_key
from sync.engine.replay import Begun, Finding, Replay


async def compare_histories(replay: Replay, evidence: TownEvidence) -> None:
    """Every epoch of the journal has its signed record, and every record its epoch; a halt is over a head we signed."""
    keys = (replay.server_key, *replay.older_keys)
    recorded = []
    for record in await evidence.epochs():
        journal = encode_bytes(record.journal)
        recorded.append(Begun(epoch=record.epoch, before=record.before, version=record.version, journal=journal))
        if not _is_by(keys, record.signature, record.message()):
            _find(replay, f"epoch {record.epoch}", "its record is not what the server has signed")
    for begun in replay.begun:
        if begun not in recorded:
            what = f"the journal goes over into it after version {begun.version}, and no record says so"
            _find(replay, f"epoch {begun.epoch}", what)
    for begun in recorded:
        if begun not in replay.begun:
            _find(replay, f"epoch {begun.epoch}", f"no line of the journal begins it after version {begun.version}")
    halts = await evidence.halts()
    for halt in halts:
        if not _is_head_by(keys, replay.town, halt):
            _find(replay, f"halt {halt.id}", "the server has not signed the head that it is about")
    is_halted = any(halt.ended is None for halt in halts)
    if is_halted != evidence.is_halted:
        said, should = (("halted" if one else "not halted") for one in (evidence.is_halted, is_halted))
        _find(replay, "town head", f"it says {said}, what is recorded of halts says {should}")


def _is_by(keys: Sequence[str], signature: str, message: bytes) -> bool:
    return any(is_signed(parse_public_key(key), signature, message) for key in keys)


def _is_head_by(keys: Sequence[str], town_id: str, halt: Halt) -> bool:
    return is_journal_signed(
        [parse_public_key(key) for key in keys],
        halt.signature,
        town=town_id,
        epoch=halt.epoch,
        version=halt.version,
        digest=halt.journal,
    )


def _find(replay: Replay, where: str, what: str) -> None:
    replay.findings.append(Finding(where=where, what=what))
