"""The invariants, one small function for each: it reads the facts of a world that is over, and says what does not hold.

Source: the table of invariants of the design; those of money are in `tests.simulation.money`. Each checker has a test
in which it fires on a history that was broken on purpose.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from server.adapters.memory_town import TownState
from server.application.evidence import StoredSet
from sync.engine.chain import encode_bytes, genesis_hash, journal_hash, line_hash, verdict_hash
from sync.engine.feed import row_sum
from sync.engine.town import RULE_FAILED
from sync.kernel.changeset import Fields, Status
from tests.simulation.expected import KINDS_OF, STEPS
from tests.simulation.facts import Facts, Replicated, Told, replaced
from tests.simulation.money import allocated, money, statement
from tests.simulation.rules import SERVER_RULES, Poison

Checker = Callable[[Facts], Iterator[str]]

POISON = Poison.op.encode()


def acknowledged_kept(facts: Facts) -> Iterator[str]:
    """What anybody was told is in the journal, with that verdict; only a lost part of history is decided anew."""
    towns = _Towns(facts)
    for told in facts.told:
        town = towns.of_device(told.device_id)
        where = f"change set {told.seq} of {told.device_id}, which was {told.status} at {told.version},"
        if town.has_seen(told.seen):
            said = town.verdicts.get((told.device_id, told.hash))
            if said != (told.status, told.rule, told.version):
                yield f"{where} is {said} now"
        elif town.id not in facts.went_back:
            yield f"{where} is of a history that is gone, and nobody has lost it"
        elif told.hash not in facts.lost | facts.strange and not _is_known(town, told):
            yield f"{where} was lost and has not come again"
    for promised in facts.promised:
        town = towns.of_town(promised.town_id)
        if town.has_seen(promised.seen) and promised.hash not in town.hashes:
            yield f"the office was answered about {promised.hash}, which is not in the journal"
        elif not town.has_seen(promised.seen) and town.id not in facts.went_back:
            yield f"the office was answered at {promised.seen[0]}, which is gone, and nobody has lost it"


def _is_known(town: _Town, told: Told) -> bool:
    return bool(town.known(told.device_id) & {told.hash, told.stands_for})


def recorded_kept(facts: Facts) -> Iterator[str]:
    """What `record` returned from is in an outbox, in the journal, kept aside, or stands in another line's name."""
    towns = _Towns(facts)
    held = {encode_bytes(one.digest) for replica in facts.replicas for one in replica.state.entries.values()}
    held |= {
        said for replica in facts.replicas for one in replica.state.entries.values() for said in replaced(one.line)
    }
    for recorded in facts.recorded:
        is_kept = recorded.hash in held or recorded.hash in towns.of_device(recorded.device_id).known(
            recorded.device_id
        )
        if not is_kept and recorded.hash not in facts.lost:
            yield f"change set {recorded.seq} of {recorded.device_id} ({recorded.hash}) is nowhere"


def once(facts: Facts) -> Iterator[str]:
    """No operation takes effect twice, whoever sent it in whatever line; a line has one verdict in one history."""
    towns = _Towns(facts)
    for town in facts.towns.values():
        effects: Counter[str] = Counter()
        for one in town.sets.values():
            if Status(one.status).has_effect and _verdict(one).get("rule") != "engine.booked_before":
                effects.update(operation["id"] for operation in orjson.loads(one.line).get("ops", ()))
        yield from (f"operation {name} took effect {count} times" for name, count in effects.items() if count > 1)
    told: dict[tuple[str, str], set[tuple[str, str | None, int]]] = defaultdict(set)
    for heard in facts.told:
        if towns.of_device(heard.device_id).has_seen(heard.seen):
            told[heard.device_id, heard.hash].add((heard.status, heard.rule, heard.version))
    for (device, digest), verdicts in told.items():
        if len(verdicts) > 1:
            yield f"line {digest} of {device} was told {len(verdicts)} verdicts"


def chain(facts: Facts) -> Iterator[str]:
    """Each device's lines follow on from each other from its certificate, each town's journal from its beginning."""
    for town in facts.towns.values():
        before = bytes(32)
        for entry in town.journal:
            body = orjson.loads(entry.body)
            if body["prev"] != encode_bytes(before) or journal_hash(entry.body) != entry.digest:
                yield f"journal version {entry.version} does not follow on"
            before = entry.digest
            for device, seq, digest, verdict in body["sets"]:
                stored = town.sets.get((device, seq))
                if stored is None or encode_bytes(stored.digest) != digest or line_hash(stored.line) != stored.digest:
                    yield f"change set {seq} of {device} is not the one that version {entry.version} names"
                elif encode_bytes(verdict_hash(stored.verdict)) != verdict:
                    yield f"the verdict on change set {seq} of {device} is not the one that was signed"
        yield from _chains(town)


def dense(facts: Facts) -> Iterator[str]:
    """Versions are 1, 2, 3 and so on; what is committed comes with the next pull, and nothing of it later."""
    for town in facts.towns.values():
        versions = [entry.version for entry in town.journal]
        if versions != list(range(1, len(versions) + 1)) or town.head.version != len(versions):
            yield f"the journal has the versions {versions[:3]}..., the head says {town.head.version}"
    for heard in facts.heard:
        if heard.version <= heard.cursor:
            yield f"{heard.entity} {heard.row_id} of version {heard.version} came after the cursor {heard.cursor}"
    for pulled in facts.pulled:
        if pulled.version < pulled.before:
            yield f"{pulled.name} was told of version {pulled.version}, and had asked at {pulled.before}"


def converged(facts: Facts) -> Iterator[str]:
    """Every replica that is at rest holds exactly the server's rows of its buckets, by rows and by checksum."""
    for replica in facts.replicas:
        if not replica.is_settled:
            continue
        town = facts.towns[replica.town_id]
        record = town.device(replica.device_id)
        assert record is not None, "a settled replica is of a device"
        served = {
            (entity, row_id): (bucket, version, body)
            for bucket in record.buckets
            for (entity, row_id), (version, body) in town.feed.get(bucket, {}).items()
            if body is not None
        }
        held = {
            key: (row.bucket, row.version, orjson.dumps(row.fields, option=orjson.OPT_SORT_KEYS))
            for key, row in replica.state.base.items()
        }
        for key in sorted(served.keys() | held.keys()):
            if served.get(key) != held.get(key):
                yield f"{replica.name} holds {key[0]} {key[1]} otherwise than the server"
        yield from _sums(replica.name, replica.state.base, town, record.buckets)
        yield from _verdicts(replica, town)


def scoped(facts: Facts) -> Iterator[str]:
    """No row comes to a device but of its town and of a bucket that it may hold."""
    for heard in facts.heard:
        kinds = KINDS_OF.get(heard.entity, SERVER_RULES.entities[heard.entity].bucket_kinds)
        if heard.bucket not in facts.holds[heard.device_id] or heard.bucket.partition(":")[0] not in kinds:
            yield f"{heard.device_id} was shown {heard.entity} {heard.row_id} of {heard.bucket}"
    yield from (f"{one.name} was answered, though it was put out of use" for one in facts.pulled if one.is_barred)
    own: dict[str, set[str]] = {town_id: {row_id for _, row_id in town.rows} for town_id, town in facts.towns.items()}
    shared = set.intersection(*own.values()) if len(own) > 1 else set()
    for heard in facts.heard:
        elsewhere = any(heard.row_id in rows for town_id, rows in own.items() if town_id != heard.town_id)
        if elsewhere and heard.row_id not in shared:
            yield f"{heard.device_id} was shown {heard.entity} {heard.row_id} of another town"


def stock(facts: Facts) -> Iterator[str]:
    """On hand is what moved, reserved is what open orders and quotas hold, for each product in each warehouse."""
    for town in facts.towns.values():
        moved: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        held: Counter[tuple[str, str]] = Counter()
        for movement in _rows(town, "stock_movement"):
            place = (movement["warehouse_id"], movement["product_id"])
            moved[place][0] += movement["on_hand_delta"]
            moved[place][1] += movement["reserved_delta"]
        for order in _rows(town, "order"):
            held.update({(order["warehouse_id"], line["product_id"]): 0 for line in order["lines"]})
            for line in order["lines"]:
                held[order["warehouse_id"], line["product_id"]] += line["reserved"]
        for quota in _rows(town, "stock_quota"):
            place = (quota["warehouse_id"], quota["product_id"])
            held[place] += quota["granted"] - quota["used"] - quota["returned"]
        for level in _rows(town, "stock_level"):
            place = (level["warehouse_id"], level["product_id"])
            if [level["on_hand"], level["reserved"]] != moved[place] or level["reserved"] != held[place]:
                said = f"{level['on_hand']} on hand, {level['reserved']} reserved"
                yield f"{place[1]} in {place[0]}: {said}; moved {moved[place]}, held {held[place]}"


def legal(facts: Facts) -> Iterator[str]:
    """Goods went only along the ways there are, from where they were, and are where the last step led."""
    for town in facts.towns.values():
        steps: dict[str, dict[int, list[tuple[str | None, str]]]] = defaultdict(lambda: defaultdict(list))
        for (entity, _), stored in town.rows.items():
            event = stored.fields
            if entity == "order_status_event" and event["from_custody"] != event["to_custody"]:
                steps[event["order_id"]][stored.version].append((event["from_custody"], event["to_custody"]))
        for order, versions in steps.items():
            at: str | None = None
            for version, taken in sorted(versions.items()):
                for before, after in taken:
                    if after not in STEPS[before]:
                        yield f"order {order} went from {before} to {after}"
                ends = _walked(at, taken)
                if not ends:
                    yield f"order {order} was {at}, and version {version} tells of {taken}"
                at = ends[0] if ends else taken[-1][1]
            if (row := town.rows.get(("order", order))) and row.fields["custody"] != at:
                yield f"order {order} is {row.fields['custody']}, its steps lead to {at}"


def replay(facts: Facts) -> Iterator[str]:
    """Folding the journal from its first line gives every table, the feed and every verdict, byte for byte."""
    for report in facts.reports.values():
        yield from (f"{finding.where}: {finding.what}" for finding in report.findings)


def explained(facts: Facts) -> Iterator[str]:
    """Every verdict but `accepted` has a rule and a reason; every conflict is there, and what is open has its task.

    No rule fails, but for the one that was made to.
    """
    for town in facts.towns.values():
        for one in town.sets.values():
            said = _verdict(one)
            where = f"change set {one.seq} of {one.device}"
            if said["status"] != "accepted" and not (said.get("rule") and said.get("notes")):
                yield f"{where} is {said['status']} without a rule or a reason"
            if said.get("rule") == RULE_FAILED and POISON not in one.line:
                yield f"{where} made a rule fail: {said['notes'][0]['text']}"
            for conflict in said.get("conflicts", ()):
                if ("conflict", conflict) not in town.rows:
                    yield f"{where} names conflict {conflict}, which is not there"
        for (entity, row_id), stored in town.rows.items():
            conflict = stored.fields
            if entity == "conflict" and conflict["state"] == "open" and conflict["task_id"]:
                task = town.rows.get(("task", conflict["task_id"]))
                if task is None or task.fields["conflict_id"] != row_id:
                    yield f"conflict {row_id} has no task"


def sound(facts: Facts) -> Iterator[str]:
    """What a replica finds when it verifies itself: its chain, its signatures, its sums, its overlay."""
    for replica in facts.replicas:
        yield from (f"{replica.name}: {finding}" for finding in replica.findings)


def orderly(facts: Facts) -> Iterator[str]:
    """Nobody hears of a fault without a name, no answer is a 500, and a healed world comes to rest."""
    yield from facts.orderly


CHECKERS: Mapping[str, Checker] = {
    checker.__name__: checker
    for checker in (
        acknowledged_kept,
        recorded_kept,
        once,
        chain,
        dense,
        converged,
        scoped,
        stock,
        legal,
        money,
        allocated,
        statement,
        replay,
        explained,
        sound,
        orderly,
    )
}


def check(facts: Facts) -> list[str]:
    """What does not hold, each with the name of its invariant."""
    return [f"{name}: {finding}" for name, checker in CHECKERS.items() for finding in checker(facts)]


class _Towns:
    """The towns of a world, each looked through once."""

    def __init__(self, facts: Facts) -> None:
        self._towns = {town_id: _Town(town_id, state, facts.sealed) for town_id, state in facts.towns.items()}
        self._of = {replica.device_id: replica.town_id for replica in facts.replicas}

    def of_device(self, device_id: str) -> _Town:
        return self._towns[self._of[device_id]]

    def of_town(self, town_id: str) -> _Town:
        return self._towns[town_id]


class _Town:
    """What a town's journal holds, by hash."""

    def __init__(self, town_id: str, state: TownState, sealed: Mapping[str, set[str]]) -> None:
        self.id = town_id
        self._journal = {entry.version: encode_bytes(entry.digest) for entry in state.journal}
        self.verdicts: dict[tuple[str, str], tuple[str, str | None, int]] = {}
        self._known: dict[str, set[str | None]] = defaultdict(set)
        for one in state.sets.values():
            said, digest = _verdict(one), encode_bytes(one.digest)
            self.verdicts[one.device, digest] = (said["status"], said.get("rule"), said["version"])
            self._known[one.device].update((digest, *replaced(one.line)))
        for (device, _), kept in state.kept.items():
            self._known[device].add(encode_bytes(line_hash(kept.line)))
        for device, handed_in in sealed.items():
            self._known[device] |= handed_in
        self.hashes = {digest for _, digest in self.verdicts}

    def has_seen(self, seen: tuple[int, str]) -> bool:
        """Whether this version of the journal is the one with this hash."""
        return self._journal.get(seen[0]) == seen[1]

    def known(self, device_id: str) -> set[str | None]:
        """The lines of a device that are in the journal, kept aside or sealed, and those that lines in it stand for."""
        return self._known[device_id]


def _rows(town: TownState, entity: str) -> Iterator[Fields]:
    return (stored.fields for (of, _), stored in town.rows.items() if of == entity)


def _walked(start: str | None, steps: list[tuple[str | None, str]]) -> list[str | None]:
    """Where a walk ends that begins there and takes each step once, in some order; nothing when there is none.

    By Euler: every place is left as often as it is reached, but for the first and the last one, and all hang together.
    """
    surplus: Counter[str | None] = Counter(after for _, after in steps)
    surplus.subtract(before for before, _ in steps)
    surplus[start] += 1
    ends = [place for place, count in surplus.items() if count]
    reached: set[str | None] = {start}
    for _ in steps:
        reached |= {after for before, after in steps if before in reached}
    is_whole = all(before in reached for before, _ in steps)
    return ends if is_whole and len(ends) == 1 and surplus[ends[0]] == 1 else []


def _verdict(stored: StoredSet) -> dict[str, Any]:
    said: dict[str, Any] = orjson.loads(stored.verdict)
    return said


def _chains(town: TownState) -> Iterator[str]:
    places: dict[str, list[StoredSet]] = defaultdict(list)
    for one in town.sets.values():
        places[one.device].append(one)
    for device, lines in places.items():
        before = genesis_hash(town.rows["device", device].fields["certificate"])
        for seq, one in enumerate(sorted(lines, key=lambda line: line.seq), 1):
            said = orjson.loads(one.line)
            if one.seq != seq or said.get("prev", encode_bytes(before)) != encode_bytes(before):
                yield f"change set {one.seq} of {device} does not follow on from the one before it"
            before = one.digest


def _verdicts(replica: Replicated, town: TownState) -> Iterator[str]:
    """Where a replica has been told a verdict otherwise than the journal has it."""
    for entry in replica.state.entries.values():
        stored = town.sets.get((replica.device_id, entry.seq))
        if entry.verdict is None or stored is None or stored.digest != entry.digest:
            continue
        said = _verdict(stored)
        held = (entry.verdict.status.value, entry.verdict.rule, entry.version)
        if held != (said["status"], said.get("rule"), said["version"]):
            now = (said["status"], said.get("rule"), said["version"])
            yield f"{replica.name} was told {held} of change set {entry.seq}, which is {now}"


def _sums(name: str, base: Mapping[tuple[str, str], Any], town: TownState, buckets: tuple[str, ...]) -> Iterator[str]:
    for bucket in buckets:
        state = town.buckets.get(bucket)
        rows = [(key, row) for key, row in base.items() if row.bucket == bucket]
        total = sum(row_sum(entity, row_id, row.version) for (entity, row_id), row in rows) % (1 << 64)
        expected = (state.total.rows, state.total.total) if state else (0, 0)
        if (len(rows), total) != expected:
            yield f"{name}: the checksum of {bucket} does not fit"
