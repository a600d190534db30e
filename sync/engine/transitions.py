"""The device's exchange state machine as a table: every state x every event -> the next state and what to do.

Theory of operation
-------------------
A replica does one exchange at a time. It sends a hello and the change sets that the server has not answered (SEND), and
listens. The answer is a welcome, one verdict for each change set that was sent, a line for each bucket, and then pages:
rows, ended by a checkpoint. Lines are kept aside as they are heard (KEEP_LINE). A checkpoint with `more` ends an
intermediate page, which is put on disk as it is (SPOOL), so that a torn stream goes on from there; the final checkpoint
takes everything in one transaction (SETTLE). Until then nothing that a user can see has changed.

An event is what was heard, already judged: `sync.engine.replica` compares every line with what was sent and what the
replica knows, and names what it finds. The table alone says what follows. Nothing else decides on states; the code that
performs the actions (`client_sdk.application.exchange`) has no conditions of its own on them.

Resting states only say what the last contact came to. A new exchange may be started from each of them, for only the
server knows whether a device has been reinstated, an app updated, or an alarm resolved.

Invariants, each with what enforces it (tests/sync/engine/test_transitions.py unless another file is named)
1. Every state x event cell exists; a missing one is a failing test and not a surprise in a van.
2. Nothing recorded is ever dropped: no action removes pending work. Only SETTLE makes a change set answered, and it
   does so with the verdict for exactly those bytes. REAUTHOR alone writes recorded work anew: each piece once, naming
   what it stands for, in one transaction, and only when the server says that an admin has agreed.
3. SETTLE and SPOOL happen only at a checkpoint that was judged good, after a welcome and after every verdict.
4. Whatever breaks off or breaks the rules leaves the old state: no cell of such an event has SPOOL or SETTLE.
5. A spool that another epoch has overtaken is dropped before a line of the new epoch is kept.
   Where the server is behind, that is on disk before anything is sent again: an answer that is lost then leaves no
   verdict behind (tests/client_sdk/test_exchange_history.py).
6. Recording goes on in every state and changes none.
7. From every state there are events that lead to a fresh start; no state is a trap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where one replica stands with its server."""

    IDLE = "idle"
    """At rest; the next exchange may start."""

    WAITING = "waiting"
    """The request is sent, nothing is heard."""

    ANSWERED = "answered"
    """Welcomed; verdicts and then buckets are being heard."""

    RECEIVING = "receiving"
    """Rows of a page are being heard."""

    SPOOLED = "spooled"
    """An intermediate page is on disk; the next one may follow in the same answer."""

    SETTLED = "settled"
    """The final checkpoint is taken; only the end of the answer is left."""

    SUSPENDED = "suspended"
    """At rest: an admin has suspended this device, or must look at its chain first."""

    REVOKED = "revoked"
    """At rest: this device no longer belongs to the town."""

    OUTDATED = "outdated"
    """At rest: the server no longer speaks this app's protocol."""

    FORKED = "forked"
    """At rest: the server holds another past of this device than the replica; an admin has to agree to a rescue."""

    ALARMED = "alarmed"
    """At rest: the server's history does not contain what it once signed."""


class Event(StrEnum):
    """What has happened, already judged by `sync.engine.replica`."""

    START = "start"
    """Somebody wants an exchange."""
    RECORDED = "recorded"
    """The user recorded a change set."""
    STALE = "stale"
    """The store says that another process has moved on under this exchange."""
    PAGE_UNREADABLE = "page_unreadable"
    """The store cannot read a line of the page that it was given, or one that it had spooled."""

    WELCOME = "welcome"
    """A welcome in the epoch that the replica knows, or the first it ever hears."""
    WELCOME_NEW_EPOCH = "welcome_new_epoch"
    """A welcome in another epoch, which the server has signed: history was lost by a failover, and is sent again."""
    WELCOME_LOST = "welcome_lost"
    """The same, and of what was lost, lines before the first that was sent were answered: their verdicts are void."""
    WELCOME_BEHIND = "welcome_behind"
    """A welcome that misses change sets before the first that was sent."""
    WELCOME_AHEAD = "welcome_ahead"
    """A welcome that counts change sets which this replica never recorded: it is an old copy."""
    VERDICT = "verdict"
    """The verdict for the next change set that was sent."""
    BUCKET = "bucket"
    """What becomes of a bucket; every verdict was heard."""
    SNAPSHOT = "snapshot"
    """Where the rows of a bucket are as a file; every verdict was heard."""
    ROWS = "rows"
    """Rows of a bucket; every verdict was heard."""
    CHECKPOINT_MORE = "checkpoint_more"
    """A good checkpoint that ends an intermediate page."""
    CHECKPOINT_FINAL = "checkpoint_final"
    """A good checkpoint that ends the last page."""
    END = "end"
    """The answer is complete."""

    TORN = "torn"
    """No connection, no answer, a cut, or something on the way that is not the server."""
    UNREADABLE = "unreadable"
    """A line that is not a message, or a page that is too large."""
    VERDICT_WRONG = "verdict_wrong"
    """A verdict for bytes that were not sent, twice, or out of order."""
    VERDICT_MISSING = "verdict_missing"
    """A bucket, rows or a checkpoint before every verdict was heard."""
    SIGNATURE_WRONG = "signature_wrong"
    """A checkpoint that no known server key has signed."""
    CHECKPOINT_WRONG = "checkpoint_wrong"
    """A checkpoint that contradicts itself or its answer."""
    HISTORY_BACK = "history_back"
    """A checkpoint before, or beside, one that was signed earlier in the same epoch; or an epoch that does not follow
    from the one that is known."""

    PROBLEM_BUSY = "problem_busy"
    PROBLEM_UNAUTHORIZED = "problem_unauthorized"
    PROBLEM_SUSPENDED = "problem_suspended"
    PROBLEM_REVOKED = "problem_revoked"
    PROBLEM_NOT_FOUND = "problem_not_found"
    PROBLEM_CHAIN_GAP = "problem_chain_gap"
    PROBLEM_CHAIN_BROKEN = "problem_chain_broken"
    PROBLEM_CHAIN_FORKED = "problem_chain_forked"
    PROBLEM_CHAIN_RELEASED = "problem_chain_released"
    PROBLEM_HISTORY_ALTERED = "problem_history_altered"
    PROBLEM_HALTED = "problem_halted"
    PROBLEM_REQUEST = "problem_request"
    PROBLEM_UPGRADE = "problem_upgrade"
    PROBLEM_OTHER = "problem_other"


class Action(StrEnum):
    """What to do; performed in the order given."""

    SEND = "send"
    """Send the hello and the lines."""
    KEEP_LINE = "keep_line"
    """Keep the line aside for the page it belongs to."""
    SPOOL = "spool"
    """Put the page on disk as it came."""
    SETTLE = "settle"
    """Take spooled pages, this page and its checkpoint, whole, in one transaction."""
    DROP_SPOOL = "drop_spool"
    """Forget downloaded pages that are not taken yet; they will be fetched again."""
    REWIND_TO_ACKED = "rewind_to_acked"
    """Forget downloaded pages, keep on disk where the server stands, and send again from there."""
    REAUTHOR = "reauthor"
    """Write what the server does not have anew, behind the head that it has told."""
    KEEP_PENDING = "keep_pending"
    """The outbox stays as it is."""
    GO_ON = "go_on"
    """Another exchange is needed at once."""
    HANG_UP = "hang_up"
    """Close the answer without hearing the rest."""
    RAISE_OFFLINE = "raise_offline"
    """Tell the caller that there was no whole answer."""
    RAISE_PROBLEM = "raise_problem"
    """Tell the caller what the server refused, as it said it."""
    RAISE_PROTOCOL_ERROR = "raise_protocol_error"
    """Tell the caller that the answer broke the protocol; what was taken before that stays taken."""
    RAISE_FORKED = "raise_forked"
    """Tell the caller that this replica is an old copy."""
    RAISE_ALTERED = "raise_altered"
    """Tell the caller that the server's history was rolled back or altered."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The next state and what to do on the way there."""

    state: State
    actions: tuple[Action, ...] = ()


Row = dict[Event, Cell]

RESTING = (State.IDLE, State.SUSPENDED, State.REVOKED, State.OUTDATED, State.FORKED, State.ALARMED)
LINES = (
    Event.WELCOME,
    Event.WELCOME_NEW_EPOCH,
    Event.WELCOME_LOST,
    Event.WELCOME_BEHIND,
    Event.WELCOME_AHEAD,
    Event.VERDICT,
    Event.BUCKET,
    Event.SNAPSHOT,
    Event.ROWS,
    Event.CHECKPOINT_MORE,
    Event.CHECKPOINT_FINAL,
)
BREACHES = (
    Event.UNREADABLE,
    Event.VERDICT_WRONG,
    Event.VERDICT_MISSING,
    Event.SIGNATURE_WRONG,
    Event.CHECKPOINT_WRONG,
    Event.HISTORY_BACK,
)
PROBLEMS = tuple(event for event in Event if event.name.startswith("PROBLEM_"))

PROTOCOL_ERROR = Cell(State.IDLE, (Action.HANG_UP, Action.KEEP_PENDING, Action.RAISE_PROTOCOL_ERROR))
_OFFLINE = Cell(State.IDLE, (Action.HANG_UP, Action.KEEP_PENDING, Action.RAISE_OFFLINE))
_STALE = Cell(State.IDLE, (Action.HANG_UP, Action.KEEP_PENDING, Action.GO_ON))
_REWIND = Cell(State.IDLE, (Action.HANG_UP, Action.KEEP_PENDING, Action.REWIND_TO_ACKED, Action.GO_ON))
_REAUTHOR = Cell(State.IDLE, (Action.KEEP_PENDING, Action.REAUTHOR, Action.GO_ON))
_ALTERED = Cell(State.ALARMED, (Action.HANG_UP, Action.KEEP_PENDING, Action.RAISE_ALTERED))
_UNTAKEN = Cell(State.IDLE, (Action.HANG_UP, Action.KEEP_PENDING, Action.DROP_SPOOL, Action.RAISE_PROTOCOL_ERROR))


def transition(state: State, event: Event) -> Cell:
    """What follows when `event` happens in `state`."""
    return TABLE[state][event]


def _each(events: Iterable[Event], cell: Cell) -> Row:
    return dict.fromkeys(events, cell)


def _refused(state: State) -> Cell:
    return Cell(state, (Action.KEEP_PENDING, Action.RAISE_PROBLEM))


def _resting(state: State) -> Row:
    """At rest there is nothing to hear; a new exchange may be tried."""
    heard_nothing = Cell(state, PROTOCOL_ERROR.actions)
    return {
        **_each((*LINES, *BREACHES, *PROBLEMS), heard_nothing),
        Event.START: Cell(State.WAITING, (Action.SEND,)),
        Event.RECORDED: Cell(state, (Action.KEEP_PENDING,)),
        Event.STALE: heard_nothing,
        Event.PAGE_UNREADABLE: heard_nothing,
        Event.END: heard_nothing,
        Event.TORN: heard_nothing,
    }


def _listening(state: State) -> Row:
    """What is the same everywhere between the request and the end of its answer: breaches, cuts, other processes."""
    return {
        **_each(BREACHES, PROTOCOL_ERROR),
        Event.UNREADABLE: _OFFLINE,  # whatever it is, it is not our server's answer
        **_each(PROBLEMS, PROTOCOL_ERROR),  # a problem document is a whole answer, never a part of one
        Event.START: PROTOCOL_ERROR,  # one exchange at a time
        Event.RECORDED: Cell(state, (Action.KEEP_PENDING,)),
        Event.STALE: _STALE,
        Event.PAGE_UNREADABLE: _UNTAKEN,
        Event.HISTORY_BACK: _ALTERED,
        Event.TORN: _OFFLINE,
        Event.END: _OFFLINE,
    }


_WAITING: Row = {
    **_listening(State.WAITING),
    **_each((*LINES, Event.PAGE_UNREADABLE), PROTOCOL_ERROR),  # there is no page yet
    Event.WELCOME: Cell(State.ANSWERED),
    Event.WELCOME_NEW_EPOCH: Cell(State.ANSWERED, (Action.DROP_SPOOL,)),
    Event.WELCOME_LOST: _REWIND,
    Event.WELCOME_BEHIND: _REWIND,
    Event.WELCOME_AHEAD: Cell(State.FORKED, (Action.HANG_UP, Action.KEEP_PENDING, Action.RAISE_FORKED)),
    Event.PROBLEM_BUSY: _refused(State.IDLE),
    Event.PROBLEM_UNAUTHORIZED: _refused(State.IDLE),
    Event.PROBLEM_SUSPENDED: _refused(State.SUSPENDED),
    Event.PROBLEM_REVOKED: _refused(State.REVOKED),
    Event.PROBLEM_NOT_FOUND: _refused(State.IDLE),
    Event.PROBLEM_CHAIN_GAP: _REWIND,
    Event.PROBLEM_CHAIN_BROKEN: _refused(State.SUSPENDED),
    Event.PROBLEM_CHAIN_FORKED: _refused(State.FORKED),
    Event.PROBLEM_CHAIN_RELEASED: _REAUTHOR,
    Event.PROBLEM_HISTORY_ALTERED: _refused(State.ALARMED),
    Event.PROBLEM_HALTED: _refused(State.ALARMED),
    Event.PROBLEM_REQUEST: _refused(State.IDLE),
    Event.PROBLEM_UPGRADE: _refused(State.OUTDATED),
    Event.PROBLEM_OTHER: _refused(State.IDLE),
}

_ANSWERED: Row = {
    **_listening(State.ANSWERED),
    **_each(LINES, PROTOCOL_ERROR),
    Event.VERDICT: Cell(State.ANSWERED, (Action.KEEP_LINE,)),
    Event.BUCKET: Cell(State.ANSWERED, (Action.KEEP_LINE,)),
    Event.SNAPSHOT: Cell(State.ANSWERED, (Action.KEEP_LINE,)),
    Event.ROWS: Cell(State.RECEIVING, (Action.KEEP_LINE,)),
    Event.CHECKPOINT_MORE: Cell(State.SPOOLED, (Action.SPOOL,)),
    Event.CHECKPOINT_FINAL: Cell(State.SETTLED, (Action.SETTLE,)),
}

_RECEIVING: Row = {
    **_listening(State.RECEIVING),
    **_each(LINES, PROTOCOL_ERROR),
    Event.ROWS: Cell(State.RECEIVING, (Action.KEEP_LINE,)),
    Event.CHECKPOINT_MORE: Cell(State.SPOOLED, (Action.SPOOL,)),
    Event.CHECKPOINT_FINAL: Cell(State.SETTLED, (Action.SETTLE,)),
}

_SPOOLED: Row = {
    **_listening(State.SPOOLED),
    **_each(LINES, PROTOCOL_ERROR),
    Event.ROWS: Cell(State.RECEIVING, (Action.KEEP_LINE,)),
    Event.CHECKPOINT_MORE: Cell(State.SPOOLED, (Action.SPOOL,)),
    Event.CHECKPOINT_FINAL: Cell(State.SETTLED, (Action.SETTLE,)),
    Event.END: Cell(State.IDLE, (Action.GO_ON,)),
}

_SETTLED: Row = {
    **_listening(State.SETTLED),
    **_each((*LINES, Event.HISTORY_BACK, Event.STALE, Event.PAGE_UNREADABLE), PROTOCOL_ERROR),  # nothing may follow
    Event.END: Cell(State.IDLE),
    Event.TORN: Cell(State.IDLE, (Action.HANG_UP,)),  # everything is taken; the cut costs nothing
}

TABLE: Mapping[State, Mapping[Event, Cell]] = MappingProxyType(
    {
        **{state: MappingProxyType(_resting(state)) for state in RESTING},
        State.WAITING: MappingProxyType(_WAITING),
        State.ANSWERED: MappingProxyType(_ANSWERED),
        State.RECEIVING: MappingProxyType(_RECEIVING),
        State.SPOOLED: MappingProxyType(_SPOOLED),
        State.SETTLED: MappingProxyType(_SETTLED),
    }
)

PROBLEM_EVENTS: Mapping[str, Event] = MappingProxyType(
    {
        "busy": Event.PROBLEM_BUSY,
        "exchange_under_way": Event.PROBLEM_BUSY,
        "unavailable": Event.PROBLEM_BUSY,
        "unauthorized": Event.PROBLEM_UNAUTHORIZED,
        "invalid_client": Event.PROBLEM_UNAUTHORIZED,
        "device_suspended": Event.PROBLEM_SUSPENDED,
        "device_revoked": Event.PROBLEM_REVOKED,
        "not_found": Event.PROBLEM_NOT_FOUND,
        "chain_gap": Event.PROBLEM_CHAIN_GAP,
        "chain_broken": Event.PROBLEM_CHAIN_BROKEN,
        "chain_forked": Event.PROBLEM_CHAIN_FORKED,
        "chain_released": Event.PROBLEM_CHAIN_RELEASED,
        "history_altered": Event.PROBLEM_HISTORY_ALTERED,
        "town_halted": Event.PROBLEM_HALTED,
        "malformed": Event.PROBLEM_REQUEST,
        "limit_exceeded": Event.PROBLEM_REQUEST,
        "unsupported_media_type": Event.PROBLEM_REQUEST,
        "upgrade_required": Event.PROBLEM_UPGRADE,
    }
)
"""The `code` of a problem document -> what it means to the exchange; any other code is PROBLEM_OTHER."""


def table_as_markdown() -> str:
    """The whole table for `docs/reference/protocol.md`; a test compares the two."""
    head = "| event | " + " | ".join(f"`{state}`" for state in State) + " |"
    rule = "|---" * (len(State) + 1) + "|"
    lines = [
        f"| `{event}` | " + " | ".join(_cell_as_markdown(state, TABLE[state][event]) for state in State) + " |"
        for event in Event
    ]
    return "\n".join((head, rule, *lines)) + "\n"


def _cell_as_markdown(state: State, cell: Cell) -> str:
    if cell.actions == PROTOCOL_ERROR.actions:
        return "✗"
    goes = "" if cell.state is state else f"→ {cell.state}"
    does = ", ".join(action for action in cell.actions if action is not Action.KEEP_PENDING)
    return ": ".join(filter(None, (goes, does))) or "·"
