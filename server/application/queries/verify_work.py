"""The part of `verify` that is about work: the outbox, what customers were told, what failed, what was forked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from server.application.batch import FAILURES_MAX
from server.application.evidence import StoredWork, TownEvidence
from server.application.queries.side_by_side import side_by_side, streamed
from sync.engine.feed import Stored, encode_body
from sync.engine.replay import ASKED, Finding, Replay
from sync.kernel.changeset import Fields


async def compare_work(replay: Replay, evidence: TownEvidence) -> None:
    """Add a finding for each piece of work and evidence that does not follow from the journal."""
    pairs = side_by_side(streamed(_asked(replay)), _works(evidence))
    both = ((place, (asked, work)) async for place, asked, work in pairs)
    async for (effect_id,), pair, told in side_by_side(both, _messages(evidence)):
        asked, work = pair or (None, None)
        _compare_outbox(replay, effect_id, asked, work)
        _compare_message(replay, effect_id, asked, work, told)
    failures = await evidence.line_failures()
    for (device, seq), digest in sorted(replay.failed.items()):
        if failures.get((device, digest), 0) < FAILURES_MAX:
            what = "quarantined after failures of which not enough are counted"
            replay.findings.append(Finding(where=f"failures of change set {seq} of device {device}", what=what))
    for device, seq in await evidence.altered_fork_lines():
        what = "its bytes do not give its hash"
        replay.findings.append(Finding(where=f"forked line {seq} of device {device}", what=what))


def _asked(replay: Replay) -> Iterator[tuple[tuple[str], Stored]]:
    return (((effect_id,), stored) for effect_id, stored in replay.rows.ordered(ASKED))


async def _works(evidence: TownEvidence) -> AsyncIterator[tuple[tuple[str], StoredWork]]:
    async for work in evidence.outbox():
        yield (work.id,), work


async def _messages(evidence: TownEvidence) -> AsyncIterator[tuple[tuple[str], tuple[str, str]]]:
    async for message_id, order_id, text in evidence.messages():
        yield (message_id,), (order_id, text)


def _compare_outbox(replay: Replay, effect_id: str, asked: Stored | None, work: StoredWork | None) -> None:
    if work is None:
        if asked is not None:
            _find(replay, f"outbox {effect_id}", "missing: the journal gives it")
    elif asked is None or asked.version != work.version or not _is_same(asked.fields, work):
        _find(replay, f"outbox {effect_id}", "it is not what the journal gives")


def _compare_message(
    replay: Replay, effect_id: str, asked: Stored | None, work: StoredWork | None, told: tuple[str, str] | None
) -> None:
    """A message says what its effect asks for, and there is one for each that is done."""
    is_asked = asked is not None and asked.fields["kind"] == "customer.notify"
    wanted = (asked.fields["data"]["order"], asked.fields["data"]["text"]) if asked and is_asked else None
    if told is not None and told != wanted:
        _find(replay, f"message {effect_id}", "it is not what the journal asks for")
    elif told is None and wanted and work and work.is_done:
        _find(replay, f"message {effect_id}", "missing: its work is marked as done")


def _is_same(asked: Fields, work: StoredWork) -> bool:
    return bool(asked["kind"] == work.kind) and encode_body(asked["data"]) == encode_body(work.data)


def _find(replay: Replay, where: str, what: str) -> None:
    replay.findings.append(Finding(where=where, what=what))
