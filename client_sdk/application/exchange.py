"""The exchange: what was recorded goes up as it is, verdicts and rows come down, and a checkpoint is taken whole.

Everything that decides is elsewhere: `sync.engine.replica` judges what is heard, `sync.engine.transitions` says what
follows, the store keeps, the transport carries. Here the actions are performed. Whatever breaks off leaves the outbox
as it was and the rows as they were; asking again repairs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from client_sdk.application.ports import Settled, Store, System, Transport
from client_sdk.application.reauthor import reauthor
from client_sdk.application.request import asked_of, hello_of, keeps, lines_from, lost, signed_head
from client_sdk.application.snapshots import fetch_snapshots, wants_snapshots
from client_sdk.application.trust import follow_keys
from client_sdk.errors import (
    BadAnswer,
    HistoryAltered,
    Offline,
    OldCopy,
    ServerProblem,
    StaleExchange,
    UnknownServerKey,
)
from sync.engine.replica import Conversation
from sync.engine.transitions import PROBLEM_EVENTS, RESTING, Action, Event
from sync.kernel.changeset import Verdict
from sync.kernel.errors import Malformed, TallystickError
from sync.protocol import limits

PAGE_BYTES_MAX = 64 * 1024 * 1024
"""One page of an answer, held in memory until its checkpoint is heard."""

FRUITLESS_ROUNDS_MAX = 5
"""Exchanges in a row that may end without progress before `sync_to_quiet` gives up and says why."""

ROUNDS_MAX = 10_000
"""Exchanges in one `sync_to_quiet`; who records faster than the wire carries is told so far, and goes on next time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """What one exchange came to.

    `next_seq` is the position to send from next, None for the one after the last answered. `settled` is None when no
    final checkpoint was taken. `goes_on` says that another exchange is needed whatever is pending; `setback` says why
    this one brought nothing forward.
    """

    sent: int
    next_seq: int | None
    settled: Settled | None
    version: int
    goes_on: bool
    setback: TallystickError | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncReport:
    """What a sync did: change sets answered, their verdicts, rows changed, the town version now, bytes on the wire."""

    pushed: int
    verdicts: tuple[tuple[int, Verdict], ...]
    rows: int
    version: int
    bytes_up: int
    bytes_down: int
    rounds: int
    mismatched: tuple[str, ...]
    """Buckets whose checksum did not fit on the way and that were fetched anew."""


def sync_to_quiet(store: Store, transport: Transport, system: System, *, app: str = "python") -> SyncReport:
    """Exchange until everything recorded is answered and the last checkpoint is complete.

    Raises `Offline`, `ServerProblem` (with `retry_after_seconds` when the server is busy), `BadAnswer`, `OldCopy`,
    `HistoryAltered`, and what the store raises. Whatever was settled before stays settled.
    """
    bytes_up, bytes_down = transport.bytes_up, transport.bytes_down
    rounds: list[Round] = []
    next_seq: int | None = None
    fruitless = 0
    while len(rounds) < ROUNDS_MAX:
        try:
            done = exchange_once(store, transport, system, from_seq=next_seq, app=app)
        except UnknownServerKey:
            if not follow_keys(store, transport):
                raise
            continue
        rounds.append(done)
        next_seq = done.next_seq
        fruitless = fruitless + 1 if done.setback else 0
        if done.setback and fruitless >= FRUITLESS_ROUNDS_MAX:
            raise done.setback
        if not done.goes_on and next_seq is not None and store.exchange_state().head_seq < next_seq:
            break
    taken = [(done, done.settled) for done in rounds if done.settled]
    return SyncReport(
        pushed=sum(len(settled.verdicts) for _, settled in taken),
        verdicts=tuple(answer for _, settled in taken for answer in settled.verdicts),
        rows=sum(settled.rows for _, settled in taken),
        version=rounds[-1].version,
        bytes_up=transport.bytes_up - bytes_up,
        bytes_down=transport.bytes_down - bytes_down,
        rounds=len(rounds),
        mismatched=tuple(bucket for _, settled in taken for bucket in settled.mismatched),
    )


def exchange_once(
    store: Store, transport: Transport, system: System, *, from_seq: int | None = None, app: str = "python"
) -> Round:
    """One request and its whole answer. `from_seq` is where to send from when not after the last answered position.

    Raises as `sync_to_quiet` does.
    """
    exchange = _Exchange(store, transport, system, from_seq, app)
    try:
        return exchange.run()
    finally:
        exchange.hang_up()


class _Exchange:
    """One exchange under way; `run` drives it from START to rest."""

    def __init__(self, store: Store, transport: Transport, system: System, from_seq: int | None, app: str) -> None:
        self._store, self._transport, self._system = store, transport, system
        identity = store.identity()
        self._state = store.exchange_state()
        first = self._state.acked + 1 if from_seq is None else from_seq
        self._missing = None if first > self._state.head_seq or keeps(store, first) else first
        if self._missing:  # without lines the server hears what is the last that is known here
            first = (store.known_before(first) or (0, b""))[0] + 1
        told = [] if self._missing else store.told_from(first, limits.TOLD_MAX)
        lines_max = min(limits.TOLD_MAX, limits.CHANGE_SETS_MAX) if told else limits.CHANGE_SETS_MAX
        self._lines = [] if self._missing else lines_from(store, first, lines_max)
        head = signed_head(store, identity, self._lines, first)
        hello = hello_of(self._state, head=head, first=first, told=told, now_ms=system.now_ms(), app=app)
        self._hello = hello.model_copy(update={"snapshots": wants_snapshots(store, transport)})
        self._talk = Conversation(asked=asked_of(store, self._state, self._lines, hello))
        self._answer: Iterator[bytes] = iter(())
        self._line = b""
        self._page: list[bytes] = []
        self._page_bytes = 0
        self._next_seq = from_seq
        self._version = store.standing().version
        self._settled: Settled | None = None
        self._goes_on = False
        self._setback: TallystickError | None = None
        self._problem: TallystickError = Offline()
        self._breach: type[BadAnswer] = BadAnswer
        self._raising: TallystickError | None = None
        self._stranded: ServerProblem | None = None
        self._perform: dict[Action, Callable[[], None]] = {
            Action.SEND: self._send,
            Action.KEEP_LINE: self._keep_line,
            Action.SPOOL: self._spool,
            Action.SETTLE: self._settle,
            Action.DROP_SPOOL: self._drop_spool,
            Action.REWIND_TO_ACKED: self._rewind,
            Action.REAUTHOR: self._reauthor,
            Action.KEEP_PENDING: lambda: None,
            Action.GO_ON: self._go_on,
            Action.HANG_UP: self.hang_up,
            Action.RAISE_OFFLINE: lambda: self._raise(Offline(self._fault())),
            Action.RAISE_PROBLEM: lambda: self._raise(self._problem),
            Action.RAISE_PROTOCOL_ERROR: lambda: self._raise(self._breach(self._fault())),
            Action.RAISE_FORKED: lambda: self._raise(OldCopy(self._fault())),
            Action.RAISE_ALTERED: lambda: self._raise(HistoryAltered(self._fault())),
        }

    def run(self) -> Round:
        self._happen(Event.START)
        while self._talk.state not in RESTING:
            self._hear()
        if self._stranded:
            raise self._stranded
        return Round(
            sent=len(self._lines),
            next_seq=self._next_seq,
            settled=self._settled,
            version=self._version,
            goes_on=self._goes_on,
            setback=self._setback,
        )

    def hang_up(self) -> None:
        close = getattr(self._answer, "close", None)
        if close:
            close()

    def _hear(self) -> None:
        try:
            line = next(self._answer, None)
        except Offline as offline:
            self._problem = offline
            self._happen(Event.TORN)
        except ServerProblem as problem:
            self._problem = problem
            self._happen(PROBLEM_EVENTS.get(problem.code, Event.PROBLEM_OTHER))
        else:
            if line is None:
                self._problem = Offline("the answer ended before its checkpoint; sync again")
                self._happen(Event.END)
            else:
                self._hear_line(line)

    def _hear_line(self, line: bytes) -> None:
        self._line = line
        event, self._talk = self._talk.judge(line)
        self._problem = BadAnswer(f"the answer has a {event} where none belongs")
        self._breach = UnknownServerKey if event is Event.SIGNATURE_WRONG else BadAnswer
        if event is Event.WELCOME_AHEAD and self._recorded_elsewhere():
            event = Event.STALE
        if event is Event.WELCOME_NEW_EPOCH and self._first_lost() is not None:
            event = Event.WELCOME_LOST
        if self._page_bytes + len(line) > PAGE_BYTES_MAX:
            event, self._problem = Event.UNREADABLE, Offline(f"a page of the answer is over {PAGE_BYTES_MAX} bytes")
        self._happen(event)
        if event in {Event.WELCOME, Event.WELCOME_NEW_EPOCH}:
            self._system.reached("exchange.after_welcome")
        if event is Event.VERDICT and self._talk.verdicts == len(self._lines):
            self._system.reached("exchange.after_verdicts")

    def _happen(self, event: Event) -> None:
        try:
            for action in self._talk.actions(event):
                self._perform[action]()
        except StaleExchange as stale:
            self._setback = stale
            self._happen(Event.STALE)
            return
        except (BadAnswer, Malformed) as problem:
            self._problem = problem
            self._happen(Event.PAGE_UNREADABLE)
            return
        self._talk = self._talk.after(event)
        if self._raising:
            raise self._raising

    def _send(self) -> None:
        self._system.reached("exchange.before_send")
        self._answer = self._transport.exchange(self._hello, [line.line for line in self._lines])

    def _keep_line(self) -> None:
        self._page.append(self._line)
        self._page_bytes += len(self._line)

    def _spool(self) -> None:
        checkpoint = self._talk.checkpoint
        assert checkpoint is not None
        fetch_snapshots(self._store, self._transport, self._system, self._page)
        before = self._state.cursors
        self._state = self._store.spool(self._state, self._page, checkpoint)
        is_progress = self._lines or self._state.cursors != before
        self._setback = None if is_progress else BadAnswer("a page of the answer led nowhere")
        self._next_seq = self._after_this()  # their verdicts are spooled; if that is lost, they are sent again
        self._page, self._page_bytes = [], 0
        self._system.reached("exchange.after_page")

    def _settle(self) -> None:
        welcome, checkpoint = self._talk.welcome, self._talk.checkpoint
        assert welcome is not None
        assert checkpoint is not None
        # Everything from the first line sent on has its verdict in this answer, also what the server held before.
        held = welcome.model_copy(update={"acked": min(welcome.acked, self._talk.asked.from_seq - 1)})
        self._system.reached("exchange.before_settle")
        self._settled = self._store.settle(self._state, held, self._page, checkpoint)
        self._system.reached("exchange.after_settle")
        self._version, self._next_seq, self._setback = checkpoint.version, self._after_this(), None
        self._page, self._page_bytes = [], 0
        if self._missing and self._next_seq == self._missing:
            self._stranded = lost(self._missing)
        if self._settled.mismatched:
            self._goes_on = True
            self._setback = BadAnswer(f"the checksum of {', '.join(self._settled.mismatched)} does not fit")

    def _drop_spool(self) -> None:
        """Forget the spool; raise `StaleExchange` when the request was made on top of it, or another process moved."""
        self._next_seq = None
        self._store.drop_spool()
        if self._store.exchange_state().generation != self._state.generation:
            raise StaleExchange

    def _rewind(self) -> None:
        """Send again from where the server stands; where that is not kept here, ask how to go on instead."""
        welcome, expected = self._talk.welcome, getattr(self._problem, "expected_seq", None)
        if welcome:
            expected = min(welcome.acked + 1, self._first_lost() or self._talk.asked.from_seq)
        if expected is None or not 1 <= expected < self._talk.asked.from_seq:
            raise BadAnswer("the server misses change sets, but does not say which")
        self._setback = lost(expected)
        if keeps(self._store, expected):
            self._store.rewind(expected - 1)
            self._next_seq = None
        else:  # what cannot be sent again is not kept as if it could
            self._next_seq = expected

    def _reauthor(self) -> None:
        """Write anew what the server does not have; the next exchange sends it."""
        assert isinstance(self._problem, ServerProblem)
        reauthor(self._store, self._state, self._problem)
        self._next_seq = None
        self._setback = self._problem

    def _go_on(self) -> None:
        self._goes_on = True

    def _raise(self, error: TallystickError) -> None:
        self._raising = error

    def _fault(self) -> str:
        """What was wrong, in words: with the line that was judged last, or around it."""
        return self._talk.fault or self._problem.message

    def _after_this(self) -> int | None:
        """Where to send from next; None when the server has meanwhile what was missing here."""
        first = self._missing or self._talk.asked.next_seq
        lines = self._store.outbox_from(first, lines_max=1, bytes_max=1)
        after = lines[0].seq if lines else max(first, self._state.head_seq + 1)
        welcome = self._talk.welcome
        if self._missing is None:
            return after
        return None if welcome is not None and welcome.acked + 1 >= after else self._missing

    def _first_lost(self) -> int | None:
        """The first line before those that were sent whose verdict is of a part of history that is lost, if any."""
        welcome, asked = self._talk.welcome, self._talk.asked
        if welcome is None or not welcome.epochs:
            return None
        mark = welcome.epochs[0]
        first = self._store.first_beyond(mark.version if mark.before == asked.epoch else 0)
        return first if first is not None and first < asked.from_seq else None

    def _recorded_elsewhere(self) -> bool:
        """Whether another process on this replica recorded and sent what the server counts."""
        welcome = self._talk.welcome
        if welcome is None or self._store.exchange_state().head_seq < welcome.acked:
            return False
        self._setback = StaleExchange()
        return True
