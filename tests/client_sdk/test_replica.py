"""The public face of the SDK, against a town without a wire."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

import client_sdk
from client_sdk.adapters.keys import key_path
from client_sdk.adapters.sqlite.store import SqliteStore
from client_sdk.errors import (
    ActingAsMissing,
    AlreadyEnrolled,
    InsecureServer,
    KeyMissing,
    NotAQuery,
    NotAReplica,
    NotEnrolled,
    Offline,
    Refused,
    ReplicaClosed,
    ReplicaCorrupt,
    ReplicaTooNew,
    UnknownActor,
    WrongPassphrase,
    WrongPin,
)
from client_sdk.replica import Replica
from sync.engine.chain import encode_bytes
from sync.kernel.changeset import Status
from sync.kernel.clock import format_time
from sync.kernel.pins import hash_pin
from tests.support.desk import PASSPHRASE, enrolled, opened, town_with_jobs
from tests.support.toy import (
    CLERK_ID,
    REGISTRY,
    FinishJob,
    PlaceJob,
    TakeCash,
    ToyTown,
    ToyTransport,
    job_id,
)

URL = "http://127.0.0.1:9"


@pytest.fixture
def town() -> ToyTown:
    return town_with_jobs()


@pytest.fixture
def replica(tmp_path: Path, town: ToyTown) -> Iterator[Replica]:
    with enrolled(tmp_path / "toy.db", town) as made:
        yield made


def test_importing_the_package_loads_neither_http_nor_a_keystore() -> None:
    script = """
import sys, client_sdk
client_sdk.Offline
assert not {"httpx2", "keyring", "jwt", "apsw"} & sys.modules.keys()
client_sdk.Replica
assert not {"httpx2", "keyring", "jwt"} & sys.modules.keys()
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_every_exported_name_is_there() -> None:
    assert all(getattr(client_sdk, name) for name in client_sdk.__all__)
    with pytest.raises(AttributeError):
        client_sdk.nonsense  # noqa: B018  asking is the test


def test_a_day_offline_and_back(replica: Replica, town: ToyTown) -> None:
    done = replica.record(TakeCash(job=job_id(0), amount="12.50", currency="GBP"), FinishJob(job=job_id(0)))
    assert (done.seq, done.guess.status, replica.status.pending) == (1, Status.ACCEPTED, 1)
    assert replica.get("job", job_id(0)) == {
        "id": job_id(0),
        "version": 2,
        "name": "Job 0",
        "zone": "a",
        "is_done": True,
        "paid_minor": 1250,
        "tags": [],
    }
    report = replica.sync()
    assert (report.pushed, report.version, [seq for seq, _ in report.verdicts]) == (1, town.version, [1])
    assert (replica.status.pending, replica.status.online, replica.pending()) == (0, True, [])
    assert [entry.seq for entry in replica.verdicts()] == [1]
    assert replica.verify() == ()


def test_queries_see_base_and_pending(replica: Replica) -> None:
    placed = replica.record(PlaceJob(name="Mine", zone="b"))
    rows = replica.query("SELECT id, version, zone FROM jobs WHERE is_done = ? ORDER BY name", [0])
    assert [(row["version"], row["zone"]) for row in rows] == [(2, "a"), (2, "a"), (2, "a"), (None, "b")]
    assert rows[-1]["id"] == placed.id
    assert replica.query("WITH x AS (SELECT 1 AS one) SELECT * FROM x -- done") == [{"one": 1}]
    assert replica.query("-- what\n/* is */ SELECT count(*) AS jobs FROM jobs") == [{"jobs": 4}]
    assert replica.query("SELECT tags FROM jobs LIMIT 1") == [{"tags": "[]"}]
    assert replica.query("SELECT 1 AS one WHERE 0") == []


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM outbox",
        "INSERT INTO dismissed VALUES ('x')",
        "WITH x AS (SELECT 1) DELETE FROM outbox",
        "PRAGMA key = 'x'",
        "SELECT * FROM pragma_table_info('outbox')",
        "ATTACH ':memory:' AS other",
        "BEGIN",
        "SELECT 1; SELECT 2",
        "SELECT nothing FROM nowhere",
        "SELECT ?, ?",
        "",
    ],
)
def test_only_one_reading_statement_can_be_queried(replica: Replica, sql: str) -> None:
    with pytest.raises(NotAQuery):
        replica.query(sql, [1])
    assert replica.query("SELECT 1 AS one") == [{"one": 1}]


def test_no_query_shows_the_device_key(replica: Replica) -> None:
    seed = replica._identity.key.private_bytes_raw()
    shown = orjson.dumps([str(row) for row in replica.query("SELECT * FROM meta")])
    assert encode_bytes(seed).encode() not in shown
    assert seed.hex().encode() not in shown


def test_offline_is_said_and_nothing_is_lost(replica: Replica) -> None:
    transport = replica._transport
    assert isinstance(transport, ToyTransport)
    transport.is_cut = True
    replica.record(FinishJob(job=job_id(0)))
    with pytest.raises(Offline):
        replica.sync()
    status = replica.status
    assert (status.online, status.pending, type(status.last_problem)) == (False, 1, Offline)
    transport.is_cut = False
    assert replica.sync().pushed == 1
    assert replica.status.last_problem is None


def test_a_refusal_is_raised_with_its_code(replica: Replica) -> None:
    with pytest.raises(Refused) as refusal:
        replica.record(PlaceJob(name=""))
    assert refusal.value.code == "toy.no_name"
    assert replica.status.pending == 0


def test_what_was_adjusted_asks_for_attention_until_it_is_dismissed(replica: Replica, town: ToyTown) -> None:
    replica.record(FinishJob(job=job_id(0)))
    replica.record(FinishJob(job=job_id(0)))
    replica.record(FinishJob(job=job_id(99)))
    replica.sync()
    items = replica.attention()
    assert [(item.seq, item.status, item.sentence) for item in items] == [
        (2, "adjusted", "Job 0 was done already."),
        (3, "quarantined", "This points to a job that does not exist here."),
    ]
    replica.dismiss(items[0])
    assert [item.seq for item in replica.attention()] == [3]
    conflict = {**town.rows["conflict", items[0].conflicts[0]].fields, "seq": 1, "sentence": "Look."}
    town.put({("conflict", job_id(1)): conflict})
    replica.sync()
    assert [(item.seq, item.status, item.sentence) for item in replica.attention()][:1] == [(1, "conflict", "Look.")]


def test_a_user_with_a_pin_must_give_it(tmp_path: Path) -> None:
    with enrolled(tmp_path / "toy.db", town_with_jobs(pin_hash=hash_pin("2580", bytes(16)))) as replica:
        with pytest.raises(ActingAsMissing):
            replica.record(FinishJob(job=job_id(0)))
        for wrong in (None, "", "2581"):
            with pytest.raises(WrongPin), replica.acting_as(CLERK_ID, pin=wrong):
                pytest.fail("the block must not be entered")
        with pytest.raises(UnknownActor), replica.acting_as(job_id(0), pin="2580"):
            pytest.fail("the block must not be entered")
        with replica.acting_as(CLERK_ID, pin="2580"):
            replica.record(FinishJob(job=job_id(0)))
        with pytest.raises(ActingAsMissing):
            replica.record(FinishJob(job=job_id(0)))
        assert orjson.loads(replica.pending()[0].line)["actor"] == CLERK_ID


def test_each_thread_acts_for_itself(replica: Replica) -> None:
    seen: list[str | None] = []
    with replica.acting_as(CLERK_ID):
        thread = threading.Thread(target=lambda: seen.append(replica._actor()))
        thread.start()
        thread.join()
    assert seen == [CLERK_ID]  # the device's own user, not the block of the other thread


def test_threads_record_one_chain(replica: Replica) -> None:
    def work() -> None:
        for _ in range(10):
            replica.record(TakeCash(job=job_id(0), amount="1.00", currency="GBP"))
            replica.query("SELECT * FROM jobs")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.seq for entry in replica.pending()] == list(range(1, 41))
    assert replica.verify() == ()


def test_work_survives_closing_and_opening(tmp_path: Path, town: ToyTown) -> None:
    with enrolled(tmp_path / "toy.db", town) as replica:
        first = replica.record(FinishJob(job=job_id(0)))
    with opened(tmp_path / "toy.db", town) as replica:
        assert orjson.loads(replica.pending()[0].line)["ops"][0]["id"] == first.id
        assert replica.record(FinishJob(job=job_id(1))).seq == 2
        assert replica.sync().pushed == 2


def test_a_closed_replica_says_so(replica: Replica) -> None:
    replica.close()
    replica.close()
    for use in (lambda: replica.query("SELECT 1"), lambda: replica.record(FinishJob(job=job_id(0)))):
        with pytest.raises(ReplicaClosed):
            use()


def test_an_insecure_server_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InsecureServer):
        Replica.enrol("http://sync.example", code="ONE", path=tmp_path / "toy.db", passphrase=PASSPHRASE)

    assert list(tmp_path.iterdir()) == []


def test_an_insecure_server_that_was_accepted_at_enrolment_is_spoken_to_later(tmp_path: Path, town: ToyTown) -> None:
    path = tmp_path / "toy.db"
    url, transport = "http://0.0.0.0:1", ToyTransport(town)
    Replica.enrol(url, code="ONE", path=path, passphrase=PASSPHRASE, registry=REGISTRY, transport=transport).close()

    with Replica.open(path, passphrase=PASSPHRASE, registry=REGISTRY) as replica, pytest.raises(Offline):
        replica.sync()


def test_the_key_pair_is_kept_before_the_server_hears_of_it(tmp_path: Path, town: ToyTown) -> None:
    path, transport = tmp_path / "toy.db", ToyTransport(town)

    def enrol(code: str, passphrase: str = PASSPHRASE) -> Replica:
        return Replica.enrol(URL, code=code, path=path, passphrase=passphrase, registry=REGISTRY, transport=transport)

    transport.is_answer_lost = True
    with pytest.raises(Offline):
        enrol("ONE")
    with pytest.raises(NotEnrolled):
        opened(path)
    with pytest.raises(WrongPassphrase):
        enrol("TWO", "other")
    transport.is_answer_lost = False
    enrol("TWO").close()
    assert len(transport.public_keys) == 2
    assert len(set(transport.public_keys)) == 1
    with pytest.raises(AlreadyEnrolled):
        enrol("THREE")


def test_there_is_no_replica_where_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotAReplica):
        opened(tmp_path / "nothing.db")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_passphrase_is_named(tmp_path: Path, town: ToyTown) -> None:
    enrolled(tmp_path / "toy.db", town).close()
    for wrong in ("wrong", "", None):
        with pytest.raises(WrongPassphrase):
            opened(tmp_path / "toy.db", passphrase=wrong)


@pytest.mark.usefixtures("dear_guards")
def test_a_lost_or_damaged_key_file_is_named(tmp_path: Path, town: ToyTown) -> None:
    path = tmp_path / "toy.db"
    enrolled(path, town).close()
    kept = key_path(path).read_bytes()
    for damage in (b"", b"{}", b"[1]", kept[:-20], kept.replace(b'"memory_kib":65536', b'"memory_kib":65536000')):
        key_path(path).write_bytes(damage)
        with pytest.raises(KeyMissing):
            opened(path)
    key_path(path).unlink()
    with pytest.raises(KeyMissing):
        opened(path)
    with pytest.raises(KeyMissing):
        enrolled(path, town)
    key_path(path).write_bytes(kept)
    opened(path).close()


def test_only_the_owner_may_read_the_key_file(tmp_path: Path, town: ToyTown) -> None:
    enrolled(tmp_path / "toy.db", town).close()
    assert key_path(tmp_path / "toy.db").stat().st_mode & 0o777 == 0o600


def test_the_key_of_another_replica_does_not_open_this_one(tmp_path: Path, town: ToyTown) -> None:
    enrolled(tmp_path / "one.db", town).close()
    enrolled(tmp_path / "two.db", town_with_jobs()).close()
    key_path(tmp_path / "two.db").replace(key_path(tmp_path / "one.db"))
    with pytest.raises(ReplicaCorrupt):
        opened(tmp_path / "one.db")


@pytest.mark.parametrize("first_page", [0, 1])
def test_a_damaged_file_is_named_and_not_shown(tmp_path: Path, first_page: int) -> None:
    path = tmp_path / "toy.db"
    enrolled(path, town_with_jobs(200)).close()
    damaged = bytearray(path.read_bytes())
    for start in range(first_page * 4096 + 100, len(damaged), 4096):
        damaged[start : start + 64] = bytes(64)
    path.write_bytes(bytes(damaged))
    with pytest.raises(ReplicaCorrupt), opened(path) as replica:
        replica.query("SELECT * FROM jobs")


def test_a_file_of_something_else_is_not_a_replica(tmp_path: Path, town: ToyTown) -> None:
    path = tmp_path / "toy.db"
    enrolled(path, town).close()
    store = opened(path)._store
    assert isinstance(store, SqliteStore)
    store._writer.execute("PRAGMA application_id = 1")
    store.close()
    with pytest.raises(NotAReplica):
        opened(path)


def test_a_newer_file_is_left_alone(tmp_path: Path, town: ToyTown) -> None:
    path = tmp_path / "toy.db"
    replica = enrolled(path, town)
    store = replica._store
    assert isinstance(store, SqliteStore)
    store._writer.execute("PRAGMA user_version = 999")
    replica.close()
    before = path.read_bytes()
    with pytest.raises(ReplicaTooNew):
        opened(path)
    assert path.read_bytes() == before


def test_verify_finds_a_planted_row(replica: Replica) -> None:
    store = replica._store
    assert isinstance(store, SqliteStore)
    store._writer.execute("UPDATE base_row SET version = 1 WHERE id = ?", (job_id(0),))
    assert replica.verify() == ("the rows of bucket zone:a do not add up to its checksum",)


def test_after_30_days_answered_lines_are_let_go_and_the_chain_still_holds(replica: Replica, town: ToyTown) -> None:
    for number in range(3):
        replica.record(FinishJob(job=job_id(number)))
    replica.sync()
    town.now += 29 * 86_400_000
    replica.sync()
    assert [entry.seq for entry in replica.verdicts()] == [1, 2, 3]
    town.now += 2 * 86_400_000
    replica.sync()
    assert [entry.seq for entry in replica.verdicts()] == [3]
    assert replica.verify() == ()
    assert replica.record(FinishJob(job=job_id(0))).seq == 4
    replica.sync()
    assert replica.verify() == ()


def test_the_clock_offset_is_what_the_server_said(replica: Replica, town: ToyTown) -> None:
    status = replica.status
    assert status.last_contact == format_time(town.now)
    assert status.clock_offset_ms is not None
    assert (status.suspended, status.needs_upgrade) == (False, False)
    assert town.version == status.version
