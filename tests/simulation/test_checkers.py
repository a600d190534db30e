"""Every checker holds its peace over a history that is right, and fires over one that was broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from client_sdk.application.ports import LineStatus
from client_sdk.application.verify import verify
from server.adapters.memory_evidence import MemoryEvidence
from server.adapters.memory_town import TownState
from server.application.evidence import StoredSet
from server.application.queries.verify_town import verify_town
from server.domain.payments import provider_reference
from sync.engine.chain import encode_bytes
from sync.engine.feed import Stored
from sync.engine.town import RULE_FAILED
from sync.kernel.changeset import Fields, Status, Verdict
from tests.simulation.checkers import CHECKERS, check
from tests.simulation.facts import Facts, Promised, Recorded, Replicated, Shown, Told
from tests.simulation.loop import SimLoop, using
from tests.simulation.rules import DEVICE_RULES, SERVER_RULES
from tests.simulation.world import World

NOWHERE = "A" * 43
Break = Callable[[Facts], None]


def town_of(facts: Facts) -> TownState:
    return next(iter(facts.towns.values()))


def replica_of(facts: Facts) -> Replicated:
    return next(one for one in facts.replicas if one.state.entries)


def a_line(facts: Facts) -> tuple[TownState, StoredSet]:
    """A line of a device, not its last one."""
    town = facts.towns[replica_of(facts).town_id]
    return town, town.sets[replica_of(facts).device_id, 1]


def change(town: TownState, key: tuple[str, str], **fields: Any) -> None:
    stored = town.rows[key]
    town.rows[key] = Stored(version=stored.version, fields={**stored.fields, **fields})


def some(
    facts: Facts, entity: str, is_wanted: Callable[[Fields], bool] = lambda _: True
) -> tuple[TownState, tuple[str, str]]:
    return next(
        (town, key)
        for town in facts.towns.values()
        for key, stored in town.rows.items()
        if key[0] == entity and is_wanted(stored.fields)
    )


def forget_an_acknowledged_line(facts: Facts) -> None:
    town, line = a_line(facts)
    del town.sets[line.device, line.seq]


def decide_an_acknowledged_line_otherwise(facts: Facts) -> None:
    facts.told[0] = replace(facts.told[0], status="decided otherwise")


def lose_history_that_nobody_has_lost(facts: Facts) -> None:
    facts.told[0] = replace(facts.told[0], seen=(1, NOWHERE))


def lose_a_line_in_a_failover(facts: Facts) -> None:
    facts.told[0] = replace(facts.told[0], hash=NOWHERE, seen=(1, NOWHERE))
    facts.went_back.update(facts.towns)


def forget_what_the_office_was_promised(facts: Facts) -> None:
    facts.promised[0] = replace(facts.promised[0], hash=NOWHERE)


def lose_what_the_office_was_promised(facts: Facts) -> None:
    facts.promised[0] = Promised(town_id=facts.promised[0].town_id, hash=NOWHERE, seen=(1, NOWHERE))


def forget_a_recorded_line(facts: Facts) -> None:
    facts.recorded.append(Recorded(device_id=replica_of(facts).device_id, seq=99, hash=NOWHERE))


def book_a_line_twice(facts: Facts) -> None:
    town, line = a_line(facts)
    town.sets[line.device, 99] = replace(line, seq=99, status="accepted")


def tell_two_verdicts_of_one_line(facts: Facts) -> None:
    told: Told = facts.told[0]
    facts.told.append(replace(told, version=told.version + 1))


def change_the_bytes_of_a_line(facts: Facts) -> None:
    town, line = a_line(facts)
    town.sets[line.device, line.seq] = replace(line, line=line.line + b" ")


def change_a_verdict(facts: Facts) -> None:
    town, line = a_line(facts)
    town.sets[line.device, line.seq] = replace(line, verdict=line.verdict + b" ")


def take_a_line_out_of_its_chain(facts: Facts) -> None:
    town, line = a_line(facts)
    second = town.sets[line.device, 2]
    town.sets[line.device, 2] = replace(second, seq=3)


def change_a_journal_entry(facts: Facts) -> None:
    town = town_of(facts)
    town.journal[3] = replace(town.journal[3], body=town.journal[3].body + b" ")


def leave_a_version_out(facts: Facts) -> None:
    del town_of(facts).journal[4]


def send_a_row_late(facts: Facts) -> None:
    facts.heard[0] = replace(facts.heard[0], cursor=facts.heard[0].version)


def see_an_old_town(facts: Facts) -> None:
    facts.pulled[-1] = replace(facts.pulled[-1], before=facts.pulled[-1].version + 1)


def answer_a_device_out_of_use(facts: Facts) -> None:
    facts.pulled[-1] = replace(facts.pulled[-1], is_barred=True)


def miss_a_row(facts: Facts) -> None:
    base = replica_of(facts).state.base
    del base[next(iter(base))]


def hold_an_old_row(facts: Facts) -> None:
    base = replica_of(facts).state.base
    key = next(iter(base))
    base[key] = replace(base[key], fields={**base[key].fields, "name": "another"})


def hold_a_row_that_was_taken_away(facts: Facts) -> None:
    base = replica_of(facts).state.base
    base["order", NOWHERE] = next(iter(base.values()))


def tell_a_device_otherwise(facts: Facts) -> None:
    entries = replica_of(facts).state.entries
    entries[1] = replace(entries[1], verdict=Verdict(status=Status.QUARANTINED, rule="engine.poison"))


def show_a_row_of_another_bucket(facts: Facts) -> None:
    facts.heard[0] = replace(facts.heard[0], bucket="driver:somebody")


def show_a_row_in_a_bucket_of_everybody(facts: Facts) -> None:
    place = next(place for place, heard in enumerate(facts.heard) if heard.entity == "order")
    facts.heard[place] = replace(facts.heard[place], bucket="town")


def show_a_row_of_another_town(facts: Facts) -> None:
    heard = facts.heard[0]
    other = next(town for town_id, town in facts.towns.items() if town_id != heard.town_id)
    row_id = next(key[1] for key in other.rows if key[0] == "user")
    facts.heard[0] = replace(heard, entity="user", row_id=row_id)


def change_a_level(facts: Facts) -> None:
    town, key = some(facts, "stock_level")
    change(town, key, on_hand=town.rows[key].fields["on_hand"] + 1)


def reserve_without_saying(facts: Facts) -> None:
    town, key = some(facts, "order")
    lines = town.rows[key].fields["lines"]
    change(town, key, lines=[{**line, "reserved": line["reserved"] + 1} for line in lines])


def jump_over_steps(facts: Facts) -> None:
    town, key = some(facts, "order_status_event", lambda row: row["from_custody"] is None)
    change(town, key, to_custody="customer")


def leave_goods_somewhere_else(facts: Facts) -> None:
    town, key = some(facts, "order", lambda row: row["custody"] == "warehouse")
    change(town, key, custody="picked")


def book_one_cent_more(facts: Facts) -> None:
    town, key = some(facts, "journal_entry", lambda row: row["debit_minor"] > 0)
    change(town, key, debit_minor=town.rows[key].fields["debit_minor"] + 1)


def credit_one_cent_more(facts: Facts) -> None:
    town, key = some(facts, "credit")
    change(town, key, left_minor=town.rows[key].fields["left_minor"] + 1)


def receive_one_cent_more(facts: Facts) -> None:
    town, key = some(facts, "settlement", lambda row: row["status"] == "CONFIRMED")
    change(town, key, amount_minor=town.rows[key].fields["amount_minor"] + 1)


def give_back_one_cent_less(facts: Facts) -> None:
    town, key = some(facts, "settlement")
    change(town, key, refunded_minor=town.rows[key].fields["refunded_minor"] - 1)


def pay_out_what_no_book_has(facts: Facts) -> None:
    row = {"method": "momo", "amount_minor": 100, "fee_minor": 1, "currency": "KES", "reference": "line 1"}
    town_of(facts).rows["pay_out", "another"] = Stored(version=1, fields=row)


def confirm_what_the_provider_has_not_moved(facts: Facts) -> None:
    town, key = some(facts, "settlement", lambda row: row["status"] == "CONFIRMED")
    change(town, ("payment", key[1]), method="momo", status="PENDING")
    facts.moved.pop(provider_reference(key[1]), None)


def move_another_sum(facts: Facts) -> None:
    town, key = some(facts, "settlement", lambda row: row["status"] == "CONFIRMED")
    change(town, ("payment", key[1]), method="momo", status="PENDING")
    row = town.rows[key].fields
    facts.moved[provider_reference(key[1])] = (row["amount_minor"] + 1, row["currency"])


def allocate_one_cent_more(facts: Facts) -> None:
    town, key = some(facts, "allocation")
    change(town, key, amount_minor=town.rows[key].fields["amount_minor"] + 1)


def allocate_more_than_was_paid(facts: Facts) -> None:
    town, key = some(facts, "settlement", lambda row: row["allocated_minor"] > 0)
    change(town, key, amount_minor=town.rows[key].fields["allocated_minor"] - 1)


def call_a_debt_paid(facts: Facts) -> None:
    town, key = some(facts, "invoice", lambda row: row["state"] == "PENDING")
    change(town, key, state="PAID")


def state_one_cent_more(facts: Facts) -> None:
    place = next(place for place, shown in enumerate(facts.statements) if shown.closing)
    (currency, minor), *more = facts.statements[place].closing
    facts.statements[place] = replace(facts.statements[place], closing=((currency, minor + 1), *more))


def state_what_nobody_owes(facts: Facts) -> None:
    town, key = some(facts, "invoice")
    entry, party = town.journal[-1], town.rows[key].fields["party_id"]
    seen = (entry.version, encode_bytes(entry.digest))
    facts.statements.append(Shown(town_id=town.head.town, party_id=party, seen=seen, closing=(("KES", 99_999_999),)))


def state_what_was_before_a_payment(facts: Facts) -> None:
    shown = facts.statements[0]
    facts.statements[0] = replace(shown, since=shown.seen[0] + 1)


def state_what_was_lost_an_hour_ago(facts: Facts) -> None:
    shown = facts.statements[0]
    facts.statements[0] = replace(shown, seen=(shown.seen[0], ""), lost_seconds=3600.0)


def say_no_reason(facts: Facts) -> None:
    town, line = next(
        (town, line) for town in facts.towns.values() for line in town.sets.values() if line.status == "refused"
    )
    said = orjson.loads(line.verdict)
    del said["notes"]
    town.sets[line.device, line.seq] = replace(line, verdict=orjson.dumps(said))


def fail_over_a_line(facts: Facts) -> None:
    town, line = a_line(facts)
    verdict = orjson.dumps({**orjson.loads(line.verdict), "rule": RULE_FAILED, "notes": [{"text": "KeyError"}]})
    town.sets[line.device, line.seq] = replace(line, verdict=verdict)


def lose_a_conflict(facts: Facts) -> None:
    town, key = some(facts, "conflict")
    del town.rows[key]


def lose_a_task(facts: Facts) -> None:
    town, key = some(facts, "conflict", lambda row: row["state"] == "open" and row["task_id"])
    del town.rows["task", town.rows[key].fields["task_id"]]


def hear_of_a_fault_without_a_name(facts: Facts) -> None:
    facts.orderly.append("KeyError: 'seq'")


BROKEN: list[tuple[str, Break]] = [
    ("acknowledged_kept", forget_an_acknowledged_line),
    ("acknowledged_kept", decide_an_acknowledged_line_otherwise),
    ("acknowledged_kept", lose_history_that_nobody_has_lost),
    ("acknowledged_kept", lose_a_line_in_a_failover),
    ("acknowledged_kept", forget_what_the_office_was_promised),
    ("acknowledged_kept", lose_what_the_office_was_promised),
    ("recorded_kept", forget_a_recorded_line),
    ("once", book_a_line_twice),
    ("once", tell_two_verdicts_of_one_line),
    ("chain", change_the_bytes_of_a_line),
    ("chain", change_a_verdict),
    ("chain", take_a_line_out_of_its_chain),
    ("chain", change_a_journal_entry),
    ("dense", leave_a_version_out),
    ("dense", send_a_row_late),
    ("dense", see_an_old_town),
    ("converged", miss_a_row),
    ("converged", hold_an_old_row),
    ("converged", hold_a_row_that_was_taken_away),
    ("converged", tell_a_device_otherwise),
    ("scoped", answer_a_device_out_of_use),
    ("scoped", show_a_row_of_another_bucket),
    ("scoped", show_a_row_in_a_bucket_of_everybody),
    ("scoped", show_a_row_of_another_town),
    ("stock", change_a_level),
    ("stock", reserve_without_saying),
    ("legal", jump_over_steps),
    ("legal", leave_goods_somewhere_else),
    ("money", book_one_cent_more),
    ("money", credit_one_cent_more),
    ("money", receive_one_cent_more),
    ("money", give_back_one_cent_less),
    ("money", pay_out_what_no_book_has),
    ("money", confirm_what_the_provider_has_not_moved),
    ("money", move_another_sum),
    ("allocated", allocate_one_cent_more),
    ("allocated", allocate_more_than_was_paid),
    ("allocated", call_a_debt_paid),
    ("statement", state_one_cent_more),
    ("statement", state_what_nobody_owes),
    ("statement", state_what_was_before_a_payment),
    ("statement", state_what_was_lost_an_hour_ago),
    ("explained", say_no_reason),
    ("explained", fail_over_a_line),
    ("explained", lose_a_conflict),
    ("explained", lose_a_task),
    ("orderly", hear_of_a_fault_without_a_name),
]


@pytest.mark.parametrize(("name", "break_it"), BROKEN, ids=[one.__name__ for _, one in BROKEN])
def test_a_checker_fires_when_its_invariant_is_broken(facts: Facts, name: str, break_it: Break) -> None:
    assert list(CHECKERS[name](facts)) == []
    break_it(facts)
    assert list(CHECKERS[name](facts))


def test_replay_fires_over_a_table_that_the_journal_does_not_give(quiet_world: World, facts: Facts) -> None:
    town, key = some(facts, "stock_level")
    change(town, key, on_hand=town.rows[key].fields["on_hand"] + 1)
    database = quiet_world.database
    kept, database.towns.states = database.towns.states, {town.head.town: town}
    evidence = MemoryEvidence(database.towns, database.outbox, database.messages)
    with using(SimLoop(quiet_world.random("verify"))) as loop:
        server_key = quiet_world.signer.public_key
        work = verify_town(evidence, town.head.town, registry=SERVER_RULES, server_key=server_key)
        task = loop.create_task(work)
        loop.run_while(lambda: not task.done())
    database.towns.states = kept
    facts.reports[town.head.town] = task.result()

    assert [finding for finding in check(facts) if finding.startswith("replay:") and "stock_level" in finding]


def test_a_replica_that_was_changed_is_not_sound(quiet_world: World, facts: Facts) -> None:
    device = next(one.device for one in quiet_world.residents if one.device.disk.entries(LineStatus.ANSWERED))
    entry = device.disk._state.entries[1]
    device.disk._state.entries[1] = replace(entry, line=entry.line + b" ")
    findings = verify(device.disk, DEVICE_RULES)
    device.disk._state.entries[1] = entry
    facts.replicas[0] = replace(facts.replicas[0], findings=findings)

    assert list(CHECKERS["sound"](facts)) == [f"{facts.replicas[0].name}: {finding}" for finding in findings] != []


def test_every_checker_was_seen_to_fire() -> None:
    assert {name for name, _ in BROKEN} | {"replay", "sound"} == CHECKERS.keys()
