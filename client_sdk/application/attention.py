"""What a user must look at: verdicts other than accepted and open conflicts, until they are dismissed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from client_sdk.application.ports import Entry, LineStatus, Store
from sync.kernel.changeset import Status

CONFLICT = "conflict"
"""The entity that the engine writes conflicts as."""

_OPEN = "open"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attention:
    """One thing to look at, with its sentence. `key` names it for `dismiss`; `seq` is the change set it is about.

    `status` is the verdict's, or `conflict` for a conflict that came by itself.
    """

    key: str
    seq: int
    status: str
    sentence: str
    conflicts: tuple[str, ...]


def attention(store: Store) -> tuple[Attention, ...]:
    """Everything not yet dismissed, in the order of the change sets. A verdict stands for the conflicts it names."""
    dismissed = store.dismissed()
    verdicts = [item for entry in store.entries(LineStatus.ANSWERED) for item in _of_verdict(entry)]
    named = {conflict for item in verdicts for conflict in item.conflicts}
    items = [*verdicts, *(item for item in _of_conflicts(store) if item.key not in named)]
    return tuple(sorted((item for item in items if item.key not in dismissed), key=lambda item: (item.seq, item.key)))


def _of_verdict(entry: Entry) -> Iterator[Attention]:
    verdict = entry.verdict
    if verdict is None or verdict.status is Status.ACCEPTED:
        return
    sentence = " ".join(note.text for note in verdict.notes) or f"Change set {entry.seq} was {verdict.status}."
    # The version is part of the key: decided anew in another epoch, it is to be looked at anew.
    yield Attention(
        key=f"verdict:{entry.seq}:{entry.version}",
        seq=entry.seq,
        status=verdict.status.value,
        sentence=sentence,
        conflicts=verdict.conflicts,
    )


def _of_conflicts(store: Store) -> Iterator[Attention]:
    for row_id, row in store.base_rows(CONFLICT):
        if row["state"] == _OPEN:
            yield Attention(key=row_id, seq=row["seq"], status=CONFLICT, sentence=row["sentence"], conflicts=(row_id,))
