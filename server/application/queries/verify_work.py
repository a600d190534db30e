"""The part of `verify` that is about work: the outbox, what customers were told, what failed, what was forked."""

from __future__ import annotations

from server.application.batch import FAILURES_MAX
from server.application.evidence import StoredWork, TownEvidence
from sync.engine.feed import encode_body
from sync.engine.replay import Finding, Replay
from sync.kernel.changeset import Effect


async def compare_work(replay: Replay, evidence: TownEvidence) -> None:
    """Add a finding for each piece of work and evidence that does not follow from the journal."""
    done = await _compare_outbox(replay, evidence)
    await _compare_messages(replay, evidence, done)
    failures = await evidence.line_failures()
    for (device, seq), digest in sorted(replay.failed.items()):
        if failures.get((device, digest), 0) < FAILURES_MAX:
            what = "quarantined after failures of which not enough are counted"
            replay.findings.append(Finding(where=f"failures of change set {seq} of device {device}", what=what))
    for device, seq in await evidence.altered_fork_lines():
        what = "its bytes do not give its hash"
        replay.findings.append(Finding(where=f"forked line {seq} of device {device}", what=what))


async def _compare_outbox(replay: Replay, evidence: TownEvidence) -> set[str]:
    """The ids of what is done."""
    missing, done = set(replay.effects), set()
    async for work in evidence.outbox():
        missing.discard(work.id)
        if work.is_done:
            done.add(work.id)
        version, effect = replay.effects.get(work.id, (0, None))
        if effect is None or version != work.version or not _is_same(effect, work):
            _find(replay, f"outbox {work.id}", "it is not what the journal gives")
    for effect_id in sorted(missing):
        _find(replay, f"outbox {effect_id}", "missing: the journal gives it")
    return done


async def _compare_messages(replay: Replay, evidence: TownEvidence, done: set[str]) -> None:
    """A message says what its effect asks for, and there is one for each that is done."""
    asked = {
        effect_id: (effect.data["order"], effect.data["text"])
        for effect_id, (_, effect) in replay.effects.items()
        if effect.kind == "customer.notify"
    }
    missing = done & asked.keys()
    async for message_id, order_id, text in evidence.messages():
        missing.discard(message_id)
        if asked.get(message_id) != (order_id, text):
            _find(replay, f"message {message_id}", "it is not what the journal asks for")
    for message_id in sorted(missing):
        _find(replay, f"message {message_id}", "missing: its work is marked as done")


def _is_same(effect: Effect, work: StoredWork) -> bool:
    return effect.kind == work.kind and encode_body(effect.data) == encode_body(work.data)


def _find(replay: Replay, where: str, what: str) -> None:
    replay.findings.append(Finding(where=where, what=what))
