"""An exported journal is checked with nothing but the file and the published key, and tells where it is altered."""

from __future__ import annotations

import asyncio
import hashlib
import random
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.adapters.keys import KeySigner
from server.adapters.postgres.connection import make_pool
from server.adapters.postgres.evidence import PostgresEvidence
from server.application.queries.check_journal import FINDINGS_MAX, Checked, JournalCheck, NotAJournal
from server.application.queries.export_journal import export_journal, export_message
from server.embedded import EmbeddedPostgres
from sync.engine.chain import decode_bytes, encode_bytes, journal_hash, journal_message, line_hash
from sync.kernel.clock import format_time
from sync.modules.identity import AddUser
from tests.support.api_world import Knocker, api_world
from tests.support.stack import database_from

POISON = b"\xff\xfe is no UTF-8"
PLACES_PER_LINE = 12
Alteration = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The lines of one export of a town, another under a newer key, and both public keys."""

    lines: Sequence[bytes]
    lines_later: Sequence[bytes]
    key: str
    newer_key: str
    signer: KeySigner
    silent: str
    town: str


@pytest.fixture(scope="module")
def exported(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[Exported]:
    with database_from(postgres, migrated_template) as url:
        yield asyncio.run(made(url))


async def made(url: str) -> Exported:
    """Two devices that wrote and one that did not, an upload of three lines, one that is no text, and an epoch."""
    async with api_world(url) as world, make_pool(url) as pool:
        first, second, silent = await world.device(), await world.device(), await world.device()
        await first.exchange(*(first.line(wish(first)) for _ in range(3)))
        await second.exchange(second.line(wish(second)))
        await world.parts.appliers.begin_epoch(world.town_id, "a backup was restored")
        second.seq, second.digest = second.seq + 1, line_hash(POISON)
        await second.exchange(POISON)
        await first.exchange(first.line(wish(first)))
        signer, evidence = world.parts.signer, PostgresEvidence(pool)
        assert isinstance(signer, KeySigner)
        at = format_time(world.system.now_ms())
        newer = KeySigner(Ed25519PrivateKey.generate(), [ring.key for ring in signer._ring])
        return Exported(
            lines=[line async for _, line in export_journal(evidence, world.town_id, signer=signer, at=at)],
            lines_later=[line async for _, line in export_journal(evidence, world.town_id, signer=newer, at=at)],
            key=signer.public_key,
            newer_key=newer.public_key,
            signer=signer,
            silent=silent.answer.device_id,
            town=world.town_id,
        )


def wish(device: Knocker) -> AddUser:
    """An operation that a driver's device may send and that is refused: enough to make a line."""
    return AddUser(id=device.world.new_id(), name="Eve", login="eve", user_roles=["admin"])


def check(lines: Sequence[bytes], key: str | None) -> Checked:
    """What an auditor is told."""
    journal = JournalCheck(key)
    for line in lines:
        journal.take(line)
    return journal.result()


def told(checked: Checked) -> list[tuple[str, str]]:
    return [(one.where, one.what) for one in checked.findings]


def places(lines: Sequence[bytes], kind: str) -> list[int]:
    """Where in the file the lines of this kind are, from 0."""
    return [place for place, line in enumerate(lines) if line.startswith(b'{"t":"%s"' % kind.encode())]


def test_an_unaltered_file_is_found_whole_under_the_published_key(exported: Exported) -> None:
    checked = check(exported.lines, exported.key)
    entries, sets = places(exported.lines, "entry"), places(exported.lines, "set")

    assert told(checked) == []
    assert (checked.town, checked.name, checked.version) == (exported.town, "Douglas", len(entries))
    assert sum(checked.verdicts.values()) == len(sets) > len(entries)
    assert (checked.verdicts["refused"], checked.verdicts["quarantined"], checked.devices) == (5, 1, 4)
    assert check(exported.lines, None) == checked


@pytest.mark.parametrize("name", ["key", "newer_key"])
def test_after_a_rotation_the_old_published_key_suffices_as_well_as_the_new(exported: Exported, name: str) -> None:
    assert told(check(exported.lines_later, getattr(exported, name))) == []


def test_a_file_under_keys_that_nobody_has_published_is_not_believed(exported: Exported) -> None:
    assert told(check(exported.lines, exported.newer_key)) == [
        ("line 1", "the keys are not those that were published, each endorsed by the one before it")
    ]


def altered(exported: Exported, kind: str, which: int, change: Alteration) -> tuple[list[bytes], int]:
    """The file with one line of this kind changed, and that line's number."""
    lines = list(exported.lines)
    place = places(lines, kind)[which]
    said = orjson.loads(lines[place])
    change(said)
    lines[place] = orjson.dumps(said)
    return lines, place + 1


@pytest.mark.parametrize(
    ("kind", "field", "become", "what"),
    [
        ("set", "line", lambda line: line.replace("Eve", "Ann"), "its bytes are not those that journal version"),
        ("set", "verdict", lambda line: line.replace("refused", "accepted"), "its verdict is not the one"),
        ("set", "sig", lambda sig: sig[::-1], "its signature is not its device's"),
        ("set", "device", lambda device: device[::-1], "does not name it, or not twice"),
        ("entry", "body", lambda body: body.replace('"v":1', '"v":2'), "its bytes do not give its hash"),
        ("entry", "sig", lambda _: "A" * 86, "its signature is not the server's"),
        ("entry", "version", lambda version: version + 1, "it follows version"),
        ("device", "certificate", lambda text: text[:-9] + "AAAAAAAAA", "is not the server's"),
        ("device", "public_key", lambda _: encode_bytes(bytes([9] * 32)), "is about another device, town or key"),
        ("epoch", "reason", lambda _: "nothing happened", "is not what the server has signed"),
        ("end", "sets", lambda count: count - 1, "the file has come to"),
        ("end", "at", lambda _: "2030-01-01T00:00:00.000Z", "of another journal or time"),
    ],
)
def test_what_was_altered_is_told_with_its_place(
    exported: Exported, kind: str, field: str, become: Callable[[Any], Any], what: str
) -> None:
    lines, number = altered(exported, kind, -1, lambda said: said.update({field: become(said[field])}))

    first, *_ = told(check(lines, exported.key))

    assert first[0] == f"line {number}"
    assert what in first[1]


@pytest.mark.parametrize(("field", "old", "new"), [("line", "Eve", "Ann"), ("verdict", "refused", "accepted")])
def test_one_altered_line_is_one_finding(exported: Exported, field: str, old: str, new: str) -> None:
    which = next(at for at, place in enumerate(places(exported.lines, "set")) if b"Eve" in exported.lines[place])
    lines, _ = altered(exported, "set", which, lambda said: said.update({field: said[field].replace(old, new)}))

    assert len(told(check(lines, exported.key))) == 1


def test_a_chain_begins_with_the_certificate_that_its_device_was_given(exported: Exported) -> None:
    which = next(
        at
        for at, place in enumerate(places(exported.lines, "device"))
        if b'"device":"' + sender(exported, "Eve") in exported.lines[place]
    )

    def another(said: dict[str, Any]) -> None:
        told = {"sub": said["device"], "town": exported.town, "key": said["public_key"]}
        said["certificate"] = exported.signer.jws(told, "tallystick-device+jwt")

    lines, _ = altered(exported, "device", which, another)

    [(_, what)] = told(check(lines, exported.key))
    assert what.endswith("it does not follow on from the line before it")


def sender(exported: Exported, name: str) -> bytes:
    """The device that was the first to send a line with this name in it."""
    said = next(
        orjson.loads(line) for line in exported.lines if line.startswith(b'{"t":"set"') and name in line.decode()
    )
    return str(said["device"]).encode()


def test_a_missing_change_set_is_named(exported: Exported) -> None:
    for place in places(exported.lines, "set"):
        lines = [line for at, line in enumerate(exported.lines) if at != place]
        gone = orjson.loads(exported.lines[place])

        first, *others = told(check(lines, exported.key))

        assert first[1].startswith(f"missing: change set {gone['seq']} of device {gone['device']}, which journal")
        assert [what for _, what in others if "the end is of" not in what] == []


def test_a_version_that_was_taken_out_whole_is_named(exported: Exported) -> None:
    entries = places(exported.lines, "entry")
    lines = [*exported.lines[: entries[3]], *exported.lines[entries[4] :]]

    assert told(check(lines, exported.key))[0] == (
        f"line {entries[3] + 1}",
        "journal version 5: it follows version 3",
    )


def without_the_silent_device(exported: Exported) -> list[bytes]:
    """Nothing in the journal needs its certificate."""
    return [line for line in exported.lines if exported.silent.encode() not in line or b'{"t":"device"' not in line]


def with_an_older_key(exported: Exported) -> list[bytes]:
    """One that nobody has to endorse since it is the first, and that endorses the published one."""
    invented = KeySigner(exported.signer._ring[-1].key, [Ed25519PrivateKey.generate()]).published
    head = orjson.loads(exported.lines[0]) | {"keys": [key.model_dump() for key in invented]}
    return [orjson.dumps(head), *exported.lines[1:]]


@pytest.mark.parametrize("altered_file", [without_the_silent_device, with_an_older_key])
def test_what_no_entry_names_is_held_by_the_end(
    exported: Exported, altered_file: Callable[[Exported], list[bytes]]
) -> None:
    lines = altered_file(exported)

    assert lines != list(exported.lines)
    assert told(check(lines, exported.key)) == [
        (
            f"line {len(lines)}",
            "a line was added, removed or altered beside what the journal names: the end is of other lines",
        )
    ]


def forged(exported: Exported, signer: KeySigner, versions: int) -> list[bytes]:
    """The file cut after so many versions, with an end by another key."""
    lines = list(exported.lines[: places(exported.lines, "entry")[versions]])
    last = orjson.loads(lines[places(lines, "entry")[-1]])
    at = orjson.loads(lines[0])["at"]
    digest = encode_bytes(hashlib.sha256(b"".join(line + b"\n" for line in lines)).digest())
    sig = signer.sign(export_message(exported.town, versions, last["hash"], at, digest))
    end = {"t": "end", "version": versions, "journal": last["hash"], "at": at, "lines": digest, "sig": sig}
    return [*lines, orjson.dumps({**end, "sets": len(places(lines, "set"))})]


def test_a_file_that_ends_early_is_found_by_its_end(exported: Exported) -> None:
    cut = exported.lines[: places(exported.lines, "entry")[4]]

    assert told(check(cut, exported.key)) == [
        (f"line {len(cut) + 1}", "missing: the end of the file, signed by the server")
    ]
    first, *_ = told(check([*cut, exported.lines[-1]], exported.key))
    assert first[1].startswith("the end is of")
    assert told(check(forged(exported, exported.signer, 4), exported.key)) == []  # the server itself would say so
    other = forged(exported, KeySigner(Ed25519PrivateKey.generate()), 4)
    assert [what for _, what in told(check(other, exported.key))] == ["the server's newest key has not signed this end"]


def test_a_journal_that_was_chained_anew_is_not_the_servers(exported: Exported) -> None:
    lines, stranger = list(exported.lines), KeySigner(Ed25519PrivateKey.generate())
    before = ""
    for place in places(lines, "entry")[2:]:
        said = orjson.loads(lines[place])
        body = orjson.loads(said["body"])
        changed = body | {"prev": before} if before else body | {"at": "2020-01-01T00:00:00.000Z"}
        text = orjson.dumps(changed)
        before = encode_bytes(journal_hash(text))
        message = journal_message(exported.town, body["epoch"], body["version"], decode_bytes(before, 32))
        lines[place] = orjson.dumps(said | {"body": text.decode(), "hash": before, "sig": stranger.sign(message)})

    found = [what for _, what in told(check(lines, exported.key))]

    count = len(places(lines, "entry"))
    assert found[: count - 2] != []
    assert [f"journal version {n}: its signature is not the server's" for n in range(3, count + 1)] == [
        what for what in found if "signature" in what
    ]


def test_an_epoch_that_no_record_vouches_for_is_named(exported: Exported) -> None:
    [place] = places(exported.lines, "epoch")
    lines = [line for at, line in enumerate(exported.lines) if at != place]

    [(_, what)] = told(check(lines, exported.key))

    assert "no signed record says so" in what


def test_a_device_that_is_told_twice_cannot_wash_its_chain(exported: Exported) -> None:
    lines = list(exported.lines)
    devices, end = [lines[place] for place in places(lines, "device")], places(lines, "end")[0]
    checked = check([*lines[:end], *devices, *lines[end:]], exported.key)

    assert [what for _, what in told(checked)] == [
        f"device {orjson.loads(line)['device']} is told again, or behind what it did" for line in devices
    ]


def test_a_line_of_the_server_that_is_not_signed_any_more_is_told(exported: Exported) -> None:
    servers = orjson.loads(exported.lines[places(exported.lines, "set")[0]])["device"]
    which = [
        place
        for place, line in enumerate(exported.lines[number] for number in places(exported.lines, "set"))
        if orjson.loads(line)["device"] == servers
    ][1]
    lines, number = altered(exported, "set", which, lambda said: said.update(sig=None))

    ((where, what),) = told(check(lines, exported.key))
    assert where == f"line {number}"
    assert "this one is not signed" in what


def test_a_file_in_which_all_is_wrong_has_so_many_findings_and_no_more(exported: Exported) -> None:
    journal = JournalCheck(exported.key)
    journal.take(exported.lines[0])
    many = [["0" * 36, seq, "", ""] for seq in range(50_000)]
    body = orjson.dumps({"sets": many}).decode()
    journal.take(orjson.dumps({"t": "entry", "version": 1, "hash": "A" * 43, "sig": "", "body": body}))

    assert len(journal.result().findings) == FINDINGS_MAX
    assert len(journal._findings) <= FINDINGS_MAX + 1


def test_no_character_of_the_file_can_be_another(exported: Exported) -> None:
    """A law: whatever one character is replaced by, something is found."""
    chance = random.Random(3)
    for place, line in enumerate(exported.lines):
        for _ in range(PLACES_PER_LINE):
            at = chance.randrange(len(line))
            other = line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]
            lines = [*exported.lines[:place], other, *exported.lines[place + 1 :]]
            try:
                assert told(check(lines, exported.key)), other
            except NotAJournal:
                assert place == 0


def test_what_follows_the_end_and_what_is_no_export_are_told(exported: Exported) -> None:
    assert told(check([*exported.lines, b"{}"], exported.key)) == [
        (f"line {len(exported.lines) + 1}", "something follows the end")
    ]
    for other in (b"", b"{}", b'{"t":"journal","v":2}', exported.lines[1]):
        with pytest.raises(NotAJournal):
            check([other], exported.key)
    with pytest.raises(NotAJournal):
        check([], exported.key)


def test_checking_holds_a_line_at_a_time(exported: Exported) -> None:
    """A line that is wrong is the same work, so one large one is given again and again."""
    lines, _ = altered(exported, "entry", 3, lambda said: said.update(padding="x" * 100_000))
    place = places(lines, "entry")[3]
    journal = JournalCheck(exported.key)
    for line in lines[:place]:
        journal.take(line)

    tracemalloc.start()
    try:
        for _ in range(150):
            journal.take(orjson.dumps(orjson.loads(lines[place])))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 150 * 100_000 / 4
