"""Fetch both halves for the proof: what the devices have in their files, what the server has in its tables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson

from client_sdk.adapters.keys import read_key
from client_sdk.adapters.sqlite.store import SqliteStore
from client_sdk.adapters.system import RealSystem
from server.cli.demo import books, money_proof, proof, script
from server.cli.demo.apps import PASSPHRASE, Device
from server.cli.demo.day import Crew, OfflineDay
from server.cli.demo.evening import Evening, Slips, verify_slips
from server.cli.demo.money_proof import Entry, Invoice, Ledger, ledger_of
from server.cli.demo.reconnect import Return
from server.cli.demo.result import Result
from server.cli.demo.stage import SERVER_FOLDER, Stage
from server.cli.demo.world import Cash
from server.stack import settings_in
from sync.modules import registry

Chain = Mapping[int, tuple[bytes, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """All that was played, and what it came to."""

    day: OfflineDay
    returns: Sequence[Return]
    evening: Evening
    result: Result
    ledger: Ledger


def ledger(stage: Stage) -> Ledger:
    """The books of money as they stand."""
    entries = (
        Entry(
            act=(row["device_id"], row["seq"]),
            kind=row["kind"],
            account=row["account"],
            pence=row["debit_minor"] - row["credit_minor"],
        )
        for row in stage.books.rows(books.ENTRIES)
    )
    invoices = (
        Invoice(
            id=row["id"],
            total=row["total_minor"],
            paid=row["paid_minor"],
            remaining=row["remaining_minor"],
            allocated=row["allocated_minor"],
            is_open=row["state"] != "CANCELLED",
        )
        for row in stage.books.rows(books.INVOICES)
    )
    return ledger_of(
        entries, invoices, ((row["party_id"], row["left_minor"]) for row in stage.books.rows(books.CREDITS))
    )


def prove(stage: Stage, crew: Crew, story: Story) -> list[proof.Check]:
    """Every check of the proof, in the order in which it is told; the two commands run beside each other."""
    with ThreadPoolExecutor(max_workers=2) as beside:
        stage.teller.doing("tallystick verify, tallystick receipt verify")
        verified, slips = beside.submit(_verify, stage), beside.submit(verify_slips, stage, crew)
        return _checks(stage, crew, story, verified.result(), slips.result())


def _checks(stage: Stage, crew: Crew, story: Story, said: proof.VerifySaid, slips: Slips) -> list[proof.Check]:
    day, returns, result, evening = story.day, story.returns, story.result, story.evening
    stage.teller.doing("Comparing both halves")
    halves = [_half(device) for device in stage.devices.values()]
    sets = len(stage.books.rows(books.CHANGE_SETS))
    entries = [
        proof.JournalEntry(version=row["version"], body=bytes(row["body"]), digest=bytes(row["hash"]))
        for row in stage.books.rows(books.JOURNAL)
    ]
    head = stage.books.one(books.HEAD)
    booked = [
        Cash(driver=row["device"], order=row["number"], pence=row["amount_minor"])
        for row in stage.books.rows(books.PAYMENTS)
    ]
    return [
        proof.accidents([one.arrival for one in returns], day.power_cut),
        proof.change_sets(
            returns, halves, _chains(stage), {device.name: device.recorded for device in stage.devices.values()}
        ),
        proof.decisions(result.told, result.orders, registry()),
        proof.messages(result.messages),
        proof.convergence(halves, _served(stage)),
        proof.newcomer(halves, script.NEWCOMER, script.ALEX.device),
        proof.deltas(day.levels, result.levels),
        proof.stock(result.shelves, len(stage.world.products)),
        proof.cash(crew.tally.cash, booked, result.tills, result.orders, _phoned_for_orders(stage, crew)),
        money_proof.telephones(evening),
        money_proof.drawers(evening),
        money_proof.every_penny(story.ledger, crew.tally),
        money_proof.books_balance(story.ledger),
        money_proof.receipts(slips),
        proof.journal(entries, (head["version"], bytes(head["journal_hash"])), sets, halves),
        proof.verify(said, len(entries), sets),
    ]


def _phoned_for_orders(stage: Stage, crew: Crew) -> int:
    return sum(pence for about, pence in crew.tally.phoned.items() if about in stage.world.orders)


def _half(device: Device) -> proof.Half:
    """Read through a store of its own, as another process would."""
    system = RealSystem()
    with SqliteStore(device.path, read_key(device.path, PASSPHRASE), registry(), system) as store:
        contents, standing = store.contents(), store.standing()
        fields = {
            (entity, row_id): row
            for entity in {mark.entity for mark in contents.marks}
            for row_id, row in store.base_rows(entity)
        }
    rows: dict[str, dict[proof.RowKey, tuple[int, Mapping[str, Any]]]] = defaultdict(dict)
    for mark in contents.marks:
        key = (mark.entity, mark.row_id)
        rows[mark.bucket][key] = (mark.version, fields[key])
    return proof.Half(
        name=device.name,
        buckets={
            name: proof.Bucket(rows=rows[name], count=kept.rows, total=kept.total)
            for name, kept in contents.sums.items()
        },
        chain={
            entry.seq: (entry.line, entry.verdict.status.value if entry.verdict else entry.status.value)
            for entry in contents.entries
        },
        pending=device.waiting,
        findings=device.replica.verify(),
        witness=standing.witness,
    )


def _served(stage: Stage) -> dict[str, proof.Bucket]:
    rows: dict[str, dict[proof.RowKey, tuple[int, Mapping[str, Any]]]] = defaultdict(dict)
    for row in stage.books.rows(books.FEED):
        rows[row["bucket"]][row["entity"], row["id"]] = (row["version"], orjson.loads(row["body"]))
    return {
        row["bucket"]: proof.Bucket(rows=rows[row["bucket"]], count=row["rows"], total=int(row["total"]))
        for row in stage.books.rows(books.BUCKETS)
    }


def _chains(stage: Stage) -> Mapping[str, Chain]:
    chains: dict[str, dict[int, tuple[bytes, str]]] = defaultdict(dict)
    for row in stage.books.rows(books.CHANGE_SETS):
        chains[row["device"]][row["seq"]] = (bytes(row["line"]), row["status"])
    return chains


def _verify(stage: Stage) -> proof.VerifySaid:
    """The command, as anybody would call it."""
    data = str(stage.directory / SERVER_FOLDER)
    ours = settings_in(os.environ)
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "server.cli", "verify", "--data", data, "--json"],
        env={name: value for name, value in os.environ.items() if name not in ours},
        stdout=subprocess.PIPE,
        check=False,
        start_new_session=True,
    )
    towns = orjson.loads(done.stdout or b"[]")
    return proof.VerifySaid(exit_code=done.returncode, town=towns[0] if towns else {})
