"""Time as evidence: between which moments a line was written, from nothing but what the journal keeps.

`tallystick verify` decides every line again, so only journaled facts count: the time of the journal entry that decides
it (the line was there then), the entry of the version that its device had seen (the line came after it; the device
names the entry's hash, which nobody can guess), and the device's anchor, which may narrow these and never widen them.

What a hostile tablet gains: it can say that it had seen less than it had, or leave its anchor out, and be known less
exactly. A version that is not there yet, or that it names with another hash, proves nothing for it. By a wrong anchor
it can move itself about between the two entries, where an honest device could have been as well. By a `base` without
`seen` it can say that it had seen more than it had: that moves nothing that it could not have booked outright.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sync.engine.chain import encode_bytes
from sync.engine.feed import Stored
from sync.kernel.cases import CLOCK_SUSPECT
from sync.kernel.changeset import ChangeSet, Fields, Note, RowKey
from sync.kernel.clock import UNIX_MS_MAX, format_time, parse_time
from sync.kernel.draft import Draft
from sync.kernel.errors import InvalidClockReading
from sync.kernel.evidence import FIRST_MOMENT, OFF_CHAIN, Bounds
from sync.kernel.ids import derived_id

TOWN_VERSION = "town_version"
"""Under this name a fold asks for journal entries as for rows: id = the version as text, fields `at` and `journal`."""

CLOCK_TOLERANCE_SECONDS = 300
"""How far outside of its bounds a device's clock may claim to be before it is suspect: clocks are set by hand."""

CLOCKS_TOLD_SINCE = 2
"""The rules since which a wrong clock is told."""

ANCHOR_SLACK_MS = 2_000
"""What an answer may take on its way, so much may the server's time be off when a device hears it."""

DRIFT_PER_MILLION = 200
"""How much faster or slower a monotonic clock may run: twice what cheap quartz does."""

Read = Callable[[str, str], Fields | None]
"""Reads a row, or a journal entry as one."""


def version_row(version: int, at: str, journal: bytes) -> tuple[RowKey, Stored]:
    """The journal entry of a version as a row to be loaded: when it was, and its hash."""
    return _version_key(version), Stored(version=version, fields={"at": at, "journal": encode_bytes(journal)})


def named_versions(change_set: ChangeSet) -> frozenset[RowKey]:
    """The journal entries that tell after what a line was written."""
    version, _ = _named(change_set)
    return frozenset([_version_key(version)]) if version else frozenset()


def bounds_of(change_set: ChangeSet, *, epoch: str, version: int, decided_at: str, read: Read) -> Bounds:
    """The bounds of a device's line that is decided at `decided_at` by a town in `epoch` at `version`.

    Raises what `read` raises for what is not loaded.
    """
    after_version, since = _floor(change_set, epoch, version, read)
    earliest = min(since, decided_at)
    window = _anchored(change_set.anchor)
    if window is not None:
        narrowed = max(earliest, window[0]), min(decided_at, window[1])
        earliest, latest = narrowed if narrowed[0] <= narrowed[1] else (earliest, decided_at)
    else:
        latest = decided_at
    if change_set.replaces is not None:
        after_version = OFF_CHAIN
    is_suspect = not _shifted(earliest, -1) <= change_set.at[:24] <= _shifted(latest, 1)
    return Bounds(earliest=earliest, latest=latest, after_version=after_version, is_suspect=is_suspect)


def mark_clock(draft: Draft) -> None:
    """Say that the device's clock was wrong, and leave it to somebody once per device and day.

    The line means what it said, so it is no adjustment: its status and its rule stay.
    """
    bounds, change_set = draft.context.bounds, draft.change_set
    if bounds is None or not bounds.is_suspect or draft.context.rules < CLOCKS_TOLD_SINCE:
        return
    said = {"claimed": draft.claimed_at, "earliest": bounds.earliest, "latest": bounds.latest}
    conflict_id = derived_id("clock_suspect", change_set.device, draft.context.decided_at[:10])
    if draft.get("conflict", conflict_id) is not None:
        draft.notes.append(Note(code=CLOCK_SUSPECT.id, text=CLOCK_SUSPECT.explain(said), data=said))
        return
    rule = draft.rule
    draft.adjust(
        CLOCK_SUSPECT,
        change_set.ops[0],
        subject=("device", change_set.device),
        conflict_id=conflict_id,
        claimed=draft.claimed_at,
        earliest=bounds.earliest,
        latest=bounds.latest,
    )
    draft.rule = rule


def own_bounds(change_set: ChangeSet, version: int, decided_at: str) -> Bounds:
    """The bounds of a line of the town's own device: written when it is decided, after all that stands.

    What stands for an older line of some device tells of an act of then: nothing is known but that it is over.
    """
    if change_set.replaces is not None:
        return Bounds(earliest=FIRST_MOMENT, latest=decided_at, after_version=OFF_CHAIN)
    return Bounds(earliest=decided_at, latest=decided_at, after_version=version)


def _named(change_set: ChangeSet) -> tuple[int, str | None]:
    """The newest version that the line names, and its journal hash; None when only `base` names one."""
    if change_set.seen is not None:
        return change_set.seen["version"], change_set.seen["journal"]
    return change_set.base, None


def _version_key(version: int) -> RowKey:
    return TOWN_VERSION, str(version)


def _floor(change_set: ChangeSet, epoch: str, version: int, read: Read) -> tuple[int, str]:
    """After which version the line was written, and after which time."""
    named, digest = _named(change_set)
    is_ours = digest is not None or change_set.epoch == epoch  # a hash tells by itself whose history it is of
    entry = read(*_version_key(named)) if is_ours and 0 < named <= version else None
    if entry is not None and digest in {None, entry["journal"]}:
        return named, entry["at"]
    device = read("device", change_set.device)
    return 0, (device or {}).get("enrolled_at") or FIRST_MOMENT


def _anchored(anchor: Any) -> tuple[str, str] | None:
    """The window in which the device's monotonic clock places the line."""
    if anchor is None:
        return None
    elapsed_ms = anchor["mono_ms"]
    slack_ms = ANCHOR_SLACK_MS + elapsed_ms * DRIFT_PER_MILLION // 1_000_000
    try:
        reading_ms = parse_time(anchor["server"]) + elapsed_ms
        return format_time(max(0, reading_ms - slack_ms)), format_time(reading_ms + slack_ms)
    except InvalidClockReading:  # beyond the last year there is
        return None


def _shifted(time: str, direction: int) -> str:
    shifted_ms = parse_time(time) + direction * CLOCK_TOLERANCE_SECONDS * 1000
    return format_time(min(max(0, shifted_ms), UNIX_MS_MAX))
