"""Fetch both halves for the proof: what the devices have in their files, what the server has in its tables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from client_sdk.adapters.keys import read_key
from client_sdk.adapters.sqlite.store import SqliteStore
from client_sdk.adapters.system import RealSystem
from server.cli.demo import books, proof, script
from server.cli.demo.apps import PASSPHRASE, Device
from server.cli.demo.day import Crew, OfflineDay
from server.cli.demo.reconnect import Return
from server.cli.demo.result import Result
from server.cli.demo.stage import SERVER_FOLDER, Stage
from server.cli.demo.world import Cash
from server.stack import settings_in
from sync.modules import registry

Chain = Mapping[int, tuple[bytes, str]]


def prove(stage: Stage, crew: Crew, day: OfflineDay, returns: Sequence[Return], result: Result) -> list[proof.Check]:
    """Every check of the proof, in the order in which it is told; `tallystick verify` runs meanwhile."""
    stage.teller.doing("tallystick verify")
    said = _verify(stage)
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
        proof.change_sets(returns, halves, _chains(stage)),
        proof.decisions(result.told, result.orders, registry()),
        proof.messages(result.messages),
        proof.convergence(halves, _served(stage)),
        proof.newcomer(halves, script.NEWCOMER, script.ALEX.device),
        proof.deltas(day.levels, result.levels),
        proof.stock(result.shelves, len(stage.world.products)),
        proof.cash(crew.tally.cash, booked, result.tills, result.orders),
        proof.journal(entries, (head["version"], bytes(head["journal_hash"])), sets, halves),
        proof.verify(said, len(entries), sets),
    ]


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
