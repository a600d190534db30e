"""The one write path: every change of a town comes through here, from devices, from the office, from workers.

Waiting requests of one town are decided together (group commit): whoever finds the town idle becomes its applier,
takes what is waiting up to the batch limits, decides it in memory under the town's head lock, writes it in bulk and
commits once. Reading and deciding rest now and then, so that a long upload holds up its own town and no other. Verdicts
leave only after COMMIT has returned. The row cache is valid for exactly one town version: when another process has
written meanwhile, the version differs and the cache is dropped.

Kept apart: a verdict is permanent and only a rule makes one; a fault of the store is transient and makes none. A line
that makes a rule raise, or that the store refuses, is tried again and after `FAILURES_MAX` attempts quarantined.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace

from server.application.batch import (
    FAILURES_MAX,
    WAITING_MAX,
    Authored,
    Book,
    Done,
    TownBusy,
    Upload,
    Waiting,
    chunks,
    fail,
    founding_of,
    is_committed,
    keys_of,
    operations_of,
    take_batch,
)
from server.application.history_ports import TownHalted
from server.application.lanes import Lane, Lanes
from server.application.live_ports import Hint, Hints
from server.application.observed import observed
from server.application.planning import Planner, replaced_positions
from server.application.ports import (
    Bell,
    Founding,
    JournalEntry,
    Signer,
    System,
    Towns,
    TownWriter,
    Unavailable,
    WriteRejected,
)
from server.application.recent import RecentTowns
from server.application.released import check_released
from server.application.room import Room
from server.application.slices import in_slices
from server.domain.devices import server_device_id
from server.domain.requests import KeyedRequest
from sync.engine.chain import Link, check_links, journal_message, line_hash
from sync.engine.evidence import version_row
from sync.engine.feed import Stored
from sync.engine.town import Step, Submitted, TownHead, first_keys, folding
from sync.kernel.changeset import Operation, Replaced, RowKey
from sync.kernel.clock import format_time
from sync.kernel.errors import ChainForked, LimitExceeded, TallystickError
from sync.kernel.ids import make_id
from sync.kernel.module import Registry
from sync.kernel.view import NeedRows
from sync.modules.identity import SuspendDevice
from sync.protocol import limits
from sync.protocol.codec import parse_line


class Appliers:
    """All towns' appliers of this process."""

    def __init__(
        self,
        towns: Towns,
        registry: Registry,
        signer: Signer,
        system: System,
        *,
        bell: Bell | None = None,
        hints: Hints | None = None,
        committed: Callable[[Step], None] | None = None,
    ) -> None:
        self._towns = towns
        self._registry = registry
        self._signer = signer
        self._system = system
        self._bell = bell
        self._hints = hints
        self._committed = committed or (lambda _step: None)
        self._planner = Planner(registry, signer, system)
        self._lanes = Lanes()
        self._room = Room()
        self._tasks: set[asyncio.Task[None]] = set()
        self.recent = RecentTowns(towns)

    async def submit(self, upload: Upload) -> list[bytes]:
        """The verdict lines of an upload, in order, after they are committed.

        Raises `LimitExceeded`, `ChainGap`, `ChainBroken`, `ChainForked`, `DeviceBarred`, `TownBusy` and the store's
        `Unavailable`. Lines before the fault are decided, those after it are not.
        """
        async with self._room.taken(upload.town_id, sum(map(len, upload.lines))):
            return await self._decided(upload)

    async def _decided(self, upload: Upload) -> list[bytes]:
        links, submitted = await in_slices(self._reading(upload))
        check_links(links, None)
        waiting: list[Waiting] = []
        verdicts: list[bytes] = []
        try:
            waiting.extend(
                self._enqueue(upload.town_id, upload, links[chunk], submitted[chunk]) for chunk in chunks(submitted)
            )
            for place in waiting:
                verdicts.extend(await place.answer)
        except ChainForked as fork:
            await self._fork(upload, fork)
            raise
        finally:
            for place in waiting:
                place.answer.cancel()
        return verdicts

    async def author(
        self,
        town_id: str,
        actor_id: str,
        operations: Sequence[Operation],
        request: KeyedRequest | None = None,
        *,
        replaces: Replaced | None = None,
    ) -> bytes:
        """The verdict line of a change set that the town itself makes, or made when the same `request` came before.

        Raises `IdempotencyMismatch` for another request under its key, and what the store raises.
        """
        stamped = [
            operation if operation.id else operation.model_copy(update={"id": self.new_id()})
            for operation in operations
        ]
        work = Authored(actor_id=actor_id, operations=stamped, request=request, replaces=replaces)
        return (await self._enqueue(town_id, work, (), ()).answer)[0]

    async def begin_epoch(self, town_id: str, reason: str) -> str:
        """Begin an epoch where the town stands, whether it is halted or not; its id."""
        epoch = self.new_id()
        actor_id = server_device_id(town_id)
        work = Authored(actor_id=actor_id, operations=(), begins=epoch, reason=reason)
        await self._enqueue(town_id, work, (), ()).answer
        return epoch

    async def found(self, town_id: str, founding: Founding, actor_id: str, operations: Sequence[Operation]) -> bytes:
        """The verdict line of a new town's first change set; head, name and line are there together or not at all."""
        waiting = self._enqueue(town_id, Authored(actor_id=actor_id, operations=operations, founding=founding), (), ())
        return (await waiting.answer)[0]

    def new_id(self) -> str:
        """A fresh id for an operation."""
        return make_id(self._system.now_ms(), self._system.random(10))

    def _reading(self, upload: Upload) -> Generator[None, None, tuple[list[Link], list[Submitted]]]:
        """Read every line, resting between two; so uploads of one line are queued in the order they came."""
        links: list[Link] = []
        submitted: list[Submitted] = []
        operations = 0
        for seq, line in enumerate(upload.lines, upload.from_seq):
            if submitted:
                yield
            digest = line_hash(line)
            parsed = parse_line(line, town=upload.town_id, device=upload.device_id, registry=self._registry)
            links.append(Link(seq=seq, digest=digest, claimed_seq=parsed.claimed_seq, claimed_prev=parsed.claimed_prev))
            submitted.append(
                Submitted(device=upload.device_id, seq=seq, line=line, digest=digest, change_set=parsed.change_set)
            )
            operations += operations_of(submitted[-1])
            if operations > limits.EXCHANGE_OPERATIONS_MAX:
                raise LimitExceeded(f"a request holds at most {limits.EXCHANGE_OPERATIONS_MAX} operations")
        return links, submitted

    def _enqueue(
        self,
        town_id: str,
        work: Upload | Authored,
        links: Sequence[Link],
        submitted: Sequence[Submitted],
    ) -> Waiting:
        lane = self._lanes.of(town_id)
        if len(lane.queue) >= WAITING_MAX:
            raise TownBusy
        answer = asyncio.get_running_loop().create_future()
        waiting = Waiting(work=work, links=links, submitted=submitted, answer=answer)
        lane.queue.append(waiting)
        if not lane.is_running:
            lane.is_running = True
            task = asyncio.create_task(self._run(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return waiting

    async def _run(self, lane: Lane) -> None:
        try:
            while lane.queue:
                batch = take_batch(lane.queue)
                try:
                    await self._apply(lane, batch)
                except WriteRejected:
                    await self._apply_singly(lane, batch)
                except Exception as fault:  # noqa: BLE001  every waiter is told, whatever it was
                    lane.head = None
                    for waiting in batch:
                        fail(waiting, fault)
        finally:
            lane.is_running = False

    async def _apply_singly(self, lane: Lane, batch: Sequence[Waiting]) -> None:
        """One bad request harms nobody: after a batch has failed each request is decided and written by itself."""
        for waiting in batch:
            lane.head = None
            try:
                await self._apply_alone(lane, waiting)
            except Exception as fault:  # noqa: BLE001  the waiter is told
                lane.head = None
                fail(waiting, fault)

    async def _apply_alone(self, lane: Lane, waiting: Waiting) -> None:
        try:
            await self._apply(lane, [waiting])
        except WriteRejected as fault:
            lane.head = None
            await self._isolate(lane, waiting, fault)

    async def _isolate(self, lane: Lane, waiting: Waiting, fault: WriteRejected) -> None:
        """Find the line that cannot be decided or stored, by counting a failure against each one that fails alone."""
        if not waiting.submitted:
            fail(waiting, fault)
            return
        for place in range(len(waiting.submitted)):
            one = slice(place, place + 1)
            alone = Waiting(
                work=waiting.work,
                links=waiting.links[one],
                submitted=waiting.submitted[one],
                answer=asyncio.get_running_loop().create_future(),
            )
            for _ in range(FAILURES_MAX + 1):
                try:
                    await self._apply(lane, [alone])
                    break
                except WriteRejected:
                    lane.head = None
                    line = alone.submitted[0]
                    await self._towns.count_failure(lane.town_id, line.device, line.seq, line.digest)
            if alone.answer.done() and alone.answer.exception():
                break
        await self._apply(lane, [waiting])  # every line is decided now: this repeats the first verdicts

    async def _apply(self, lane: Lane, batch: Sequence[Waiting]) -> None:
        """Decide and commit one batch; answers or fails every waiter, or raises with nothing committed."""
        try:
            done = await observed(lane.town_id, batch, self._commit(lane, batch))
        finally:
            self.recent.stands_still(lane.town_id)
        self._system.reached("apply.after_commit")
        if done.step and done.entry:
            self._remember(lane, done.step)
            self.recent.wrote(done.step, done.entry)
            self._committed(done.step)
        for waiting, outcome in done.outcomes:
            if isinstance(outcome, Exception):
                fail(waiting, outcome)
            elif not waiting.answer.done():
                waiting.answer.set_result(outcome)
        if done.step and self._hints:
            self._hints.publish(lane.town_id, Hint(version=done.step.head.version, buckets=frozenset(done.step.sums)))
        if done.step and done.step.effects and self._bell:
            await self._bell.ring(lane.town_id)

    async def _commit(self, lane: Lane, batch: Sequence[Waiting]) -> Done:
        """One transaction. What no port may raise comes out as `WriteRejected`, a rule's exception too.

        Which line is at fault shows only when each is tried alone: a rule may fail over what a line before it left.
        """
        done: Done | None = None
        try:
            async with self._towns.writing(lane.town_id, founding=founding_of(batch)) as writer:
                done = await self._decide(lane, writer, batch)
                self._system.reached("apply.before_commit")
        except Unavailable:
            if done is None or not await is_committed(self._towns, lane.town_id, done):
                raise
        except TallystickError:
            raise
        except Exception as fault:
            raise WriteRejected from fault
        return done

    async def _decide(self, lane: Lane, writer: TownWriter, batch: Sequence[Waiting]) -> Done:
        head = writer.head
        self.recent.stands(head)
        if lane.head != head:
            lane.forget()
            lane.head = head
        record = self._planner.begun(head, batch)
        if record:
            head = replace(head, epoch=record.epoch)
        elif writer.is_halted:
            raise TownHalted
        book = await self._open_book(writer, batch)
        await self._load(lane, writer, book.device_keys)
        outcomes: list[tuple[Waiting, Sequence[bytes] | Exception]] = []
        plans: list[tuple[Waiting, Sequence[tuple[str, int]]]] = []
        for waiting in batch:
            try:
                plans.append((waiting, self._planner.plan(lane, head, book, waiting)))
            except TallystickError as fault:
                outcomes.append((waiting, fault))
        made: Step | None = None
        entry: JournalEntry | None = None
        if book.fresh:
            made = await self._fold(lane, writer, head, list(book.fresh.values()))
            entry = self._signed(made)
            await writer.write(made, entry, book.signatures, book.newly_answered)
        if record:
            await writer.begin_epoch(record)
        said = {(a.submitted.device, a.submitted.seq): a.verdict_line for a in made.answered} if made else {}
        said.update({position: line.verdict_line for position, line in book.stored.items()})
        outcomes.extend((waiting, [said[position] for position in positions]) for waiting, positions in plans)
        return Done(step=made, entry=entry, outcomes=outcomes)

    async def _open_book(self, writer: TownWriter, batch: Sequence[Waiting]) -> Book:
        """Read what the evidence checks need: chain heads, repeated positions, earlier failures."""
        server = server_device_id(writer.head.town)
        devices = {w.work.device_id for w in batch if isinstance(w.work, Upload)} | {server}
        heads = dict(await writer.device_heads(devices))
        answered = await writer.answered(keys) if (keys := keys_of(batch)) else {}
        repeated = [(server, answer.seq) for answer in answered.values()] + [
            (submitted.device, submitted.seq)
            for waiting in batch
            for submitted in waiting.submitted
            if submitted.device in heads and submitted.seq <= heads[submitted.device].seq
        ]
        repeated.extend(replaced_positions(batch))
        lines = [(s.device, s.digest) for w in batch for s in w.submitted]
        return Book(
            server=server,
            heads=heads,
            stored=dict(await writer.stored_lines(repeated)) if repeated else {},
            failures=await writer.failures(lines) if lines else {},
            device_keys=frozenset(("device", device) for device in devices),
            answered=dict(answered),
        )

    async def _fold(self, lane: Lane, writer: TownWriter, head: TownHead, batch: Sequence[Submitted]) -> Step:
        at = format_time(self._system.now_ms())
        await self._load(lane, writer, first_keys(batch, self._registry))
        while True:
            try:
                return await in_slices(folding(head, batch, lane.rows, self._registry, at))
            except NeedRows as need:
                await self._load(lane, writer, need.keys)

    async def _load(self, lane: Lane, writer: TownWriter, keys: Iterable[RowKey]) -> None:
        missing = [key for key in keys if key not in lane.rows]
        if missing:
            lane.keep(await writer.load(missing))

    def _signed(self, made: Step) -> JournalEntry:
        head = made.head
        signature = self._signer.sign(journal_message(head.town, head.epoch, head.version, head.journal))
        return JournalEntry(version=head.version, body=made.body, digest=head.journal, signature=signature)

    def _remember(self, lane: Lane, made: Step) -> None:
        """What is kept moves with the version; rows that the batch changed are known without reading them again."""
        for row in made.rows:
            lane.drop((row.entity, row.row_id))  # it may have been remembered as not there
            if not self._registry.entities[row.entity].is_append_only:  # there are many, and they are hardly read again
                lane.keep({(row.entity, row.row_id): Stored(version=made.head.version, fields=row.after)})
        # A line may have named this version before it was: that it was not there is not to be remembered.
        lane.keep(dict([version_row(made.head.version, made.at, made.head.journal)]))
        lane.head = made.head
        self._lanes.make_room(lane)

    async def _fork(self, upload: Upload, fork: ChainForked) -> None:
        """Keep both sides of a fork, and let nothing more of the device take effect until an admin has looked.

        Raises `ChainReleased` when an admin has.
        """
        lines = upload.lines[max(0, fork.seq - upload.from_seq) :]
        histories, town_id, device_id = self._towns.histories, upload.town_id, upload.device_id
        await check_released(histories, town_id, device_id, fork=lines[0], from_seq=fork.seq)
        first, at = max(fork.seq, upload.from_seq), format_time(self._system.now_ms())
        await histories.keep_lines(town_id, device_id, first, lines, signature=upload.signature, at=at)
        suspend = SuspendDevice(device=upload.device_id, reason=f"two change sets for position {fork.seq}")
        await self.author(upload.town_id, server_device_id(upload.town_id), [suspend])
