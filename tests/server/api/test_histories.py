"""What a device has seen of a history, over HTTP: proof that halts a town, epochs that are told, lines kept aside."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from server.application.commands.release_device import take_kept
from server.application.history_ports import NotHalted, TownHalted
from sync.engine.chain import (
    decode_bytes,
    encode_bytes,
    epoch_message,
    is_signed,
    journal_message,
    older_journal_message,
    parse_public_key,
)
from sync.kernel.clock import format_time
from sync.modules.histories import ReleaseDevice
from sync.modules.identity import AddUser, SuspendDevice
from tests.support.api_world import ApiWorld, Knocker

LOST_HASH = encode_bytes(bytes(32))
LOST_EPOCH = "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11"


def wish(device: Knocker) -> AddUser:
    """An operation that a driver's device may send and that is refused: enough to make a line."""
    return AddUser(id=device.world.new_id(), name="Eve", login="eve", user_roles=["admin"])


def signed(world: ApiWorld, epoch: str, version: int, digest: str = LOST_HASH) -> dict[str, Any]:
    """A witness that the server's own key vouches for as a head of this epoch."""
    message = journal_message(world.town_id, epoch, version, decode_bytes(digest, 32))
    return {"version": version, "journal": digest, "sig": world.parts.signer.sign(message)}


def signed_before(world: ApiWorld, version: int, digest: str = LOST_HASH) -> dict[str, Any]:
    """A witness from a server that did not name the epoch yet."""
    message = older_journal_message(world.town_id, version, decode_bytes(digest, 32))
    return {"version": version, "journal": digest, "sig": world.parts.signer.sign(message)}


async def checkpoint(device: Knocker) -> dict[str, Any]:
    answer = await device.exchange()
    said: dict[str, Any] = orjson.loads(answer.content.splitlines()[-1])
    return said


async def outcome(device: Knocker, *lines: bytes, **hello: object) -> tuple[int, str]:
    answer = await device.exchange(*lines, hello=device.hello(len(lines), **hello))
    return answer.status_code, answer.json()["code"] if answer.status_code != 200 else "welcome"


async def halts(world: ApiWorld) -> int:
    return len(await world.parts.towns.histories.halts(world.town_id))


async def resume(world: ApiWorld) -> int:
    return await world.parts.towns.histories.resume(world.town_id, "a test", format_time(world.system.now_ms()))


async def test_a_head_that_we_have_signed_and_do_not_have_halts_the_town_for_everybody(world: ApiWorld) -> None:
    device, other = await world.device(), await world.device()
    said = await checkpoint(device)
    line = device.line(wish(device))
    seen = {"epoch": said["epoch"], "witness": signed(world, said["epoch"], said["version"] + 1)}

    answer = await device.exchange(line, hello=device.hello(1, **seen))

    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "town_halted", "60")
    assert await outcome(other) == (503, "town_halted")
    with pytest.raises(TownHalted):
        await world.author(wish(device))
    assert (await resume(world), await halts(world)) == (1, 1)
    assert (await checkpoint(other))["version"] == said["version"]


@pytest.mark.parametrize("proof", [{"sig": None}, {"sig": "A" * 86}, {"journal": LOST_HASH}])
async def test_what_no_key_of_ours_vouches_for_halts_nothing(world: ApiWorld, proof: dict[str, Any]) -> None:
    device = await world.device()
    said = await checkpoint(device)
    witness = signed(world, said["epoch"], said["version"] + 1, encode_bytes(bytes([1] * 32))) | proof

    assert await outcome(device, epoch=said["epoch"], witness=witness) == (409, "history_altered")

    assert await halts(world) == 0
    with pytest.raises(NotHalted):
        await resume(world)


async def test_a_witness_of_our_history_is_welcome_and_a_cursor_beyond_it_is_not(world: ApiWorld) -> None:
    device = await world.device()
    said = await checkpoint(device)
    witness = signed(world, said["epoch"], said["version"], said["journal"]["hash"])
    beyond = {"town": said["version"] + 1}

    assert await outcome(device, epoch=said["epoch"], witness=witness) == (200, "welcome")
    assert await outcome(device, epoch=said["epoch"], cursors=beyond) == (409, "history_altered")


async def test_a_cursor_beyond_our_history_halts_nothing_also_beside_a_witness_that_we_have_signed(
    world: ApiWorld,
) -> None:
    device, other = await world.device(), await world.device()
    said = await checkpoint(device)
    seen = {"version": said["version"], "journal": said["journal"]["hash"], "sig": said["journal"]["sig"]}
    made_up = {"town": said["version"] + 1}

    assert await outcome(device, epoch=said["epoch"], witness=seen, cursors=made_up) == (409, "history_altered")

    assert await halts(world) == 0
    assert await outcome(other) == (200, "welcome")


async def test_a_history_that_an_admin_has_let_go_halts_nothing_again_and_its_device_gets_no_answer(
    world: ApiWorld,
) -> None:
    device = await world.device()
    said = await checkpoint(device)
    seen = {"epoch": said["epoch"], "witness": signed(world, said["epoch"], said["version"] + 1)}
    assert await outcome(device, **seen) == (503, "town_halted")
    await resume(world)

    assert await outcome(device, **seen) == (409, "history_altered")

    assert await halts(world) == 1


async def test_an_epoch_ends_a_halt_and_is_told_with_our_signature_to_whoever_saw_more(
    world: ApiWorld,
) -> None:
    device = await world.device()
    said = await checkpoint(device)
    lost = {
        "epoch": said["epoch"],
        "witness": signed(world, said["epoch"], said["version"] + 5),
        "cursors": {"town": 9_999},
    }
    assert await outcome(device, **lost) == (503, "town_halted")

    epoch = await world.parts.appliers.begin_epoch(world.town_id, "a backup was restored")

    answer = await device.exchange(hello=device.hello(**lost))
    welcome = orjson.loads(answer.content.splitlines()[0])
    [mark] = welcome["epochs"]
    assert (welcome["epoch"], mark["epoch"], mark["before"]) == (epoch, epoch, said["epoch"])
    assert (mark["version"], mark["journal"]) == (said["version"], said["journal"]["hash"])
    message = epoch_message({"town": world.town_id, **mark})
    assert is_signed(parse_public_key(world.parts.signer.public_key), mark["sig"], message)
    assert orjson.loads(answer.content.splitlines()[-1])["version"] == said["version"] + 1


async def test_what_does_not_fit_within_the_kept_part_of_an_older_epoch_is_an_alarm(world: ApiWorld) -> None:
    device = await world.device()
    said = await checkpoint(device)
    await world.parts.appliers.begin_epoch(world.town_id, "a backup was restored")
    kept = signed(world, said["epoch"], said["version"], said["journal"]["hash"])

    assert await outcome(device, epoch=said["epoch"], witness=kept) == (200, "welcome")
    other = signed(world, said["epoch"], said["version"])
    assert await outcome(device, epoch=said["epoch"], witness=other) == (503, "town_halted")


async def test_a_head_of_a_history_that_was_given_up_halts_nothing_as_a_head_of_another_epoch(
    world: ApiWorld,
) -> None:
    device, other = await world.device(), await world.device()
    said = await checkpoint(device)
    lost = signed(world, said["epoch"], said["version"] + 1)
    for _ in range(2):
        await world.parts.appliers.begin_epoch(world.town_id, "a backup was restored")
    first, now = (record.epoch for record in await world.parts.towns.histories.epochs(world.town_id))

    for epoch in (first, now, LOST_EPOCH):
        assert await outcome(device, epoch=epoch, witness=lost) == (409, "history_altered")

    assert await halts(world) == 0
    assert await outcome(other) == (200, "welcome")
    assert await outcome(device, epoch=said["epoch"], witness=lost) == (200, "welcome")


async def test_a_head_that_does_not_name_its_epoch_halts_the_town_until_a_history_has_been_given_up(
    world: ApiWorld,
) -> None:
    device = await world.device()
    said = await checkpoint(device)
    seen = signed_before(world, said["version"] + 5)

    assert await outcome(device, epoch=said["epoch"], witness=seen) == (503, "town_halted")

    epoch = await world.parts.appliers.begin_epoch(world.town_id, "a backup was restored")
    another = signed_before(world, said["version"] + 6)
    assert await outcome(device, epoch=epoch, witness=another) == (409, "history_altered")
    assert await outcome(device, epoch=epoch, witness=signed(world, epoch, said["version"] + 6)) == (503, "town_halted")


async def test_a_device_of_before_hears_heads_in_the_form_that_it_knows(world: ApiWorld) -> None:
    device = await world.device()
    now = await checkpoint(device)
    answer = await device.exchange(hello=device.hello(schema=2))
    before = orjson.loads(answer.content.splitlines()[-1])
    key, digest = parse_public_key(world.parts.signer.public_key), decode_bytes(now["journal"]["hash"], 32)
    known = older_journal_message(world.town_id, now["version"], digest)
    newer = journal_message(world.town_id, now["epoch"], now["version"], digest)

    assert (is_signed(key, before["journal"]["sig"], known), is_signed(key, now["journal"]["sig"], newer)) == (
        True,
        True,
    )
    assert before | {"journal": now["journal"]} == now


async def test_an_epoch_that_was_lost_as_a_whole_halts_until_another_has_begun(world: ApiWorld) -> None:
    device = await world.device()
    said = await checkpoint(device)
    lost = {"epoch": LOST_EPOCH, "witness": signed(world, LOST_EPOCH, said["version"] + 5)}
    assert await outcome(device, **lost) == (503, "town_halted")

    await world.parts.appliers.begin_epoch(world.town_id, "a second backup was restored")

    assert await outcome(device, **lost) == (200, "welcome")
    lost |= {"witness": signed(world, LOST_EPOCH, said["version"] + 6)}
    assert await outcome(device, **lost) == (200, "welcome")


async def test_a_suspended_device_hands_in_its_record_and_gets_nothing_else(world: ApiWorld) -> None:
    device = await world.device()
    device_id, histories = device.answer.device_id, world.parts.towns.histories
    await world.author(SuspendDevice(device=device_id, reason="left in a taxi"))
    lines = [device.line(wish(device)) for _ in range(2)]

    assert await outcome(device, *lines) == (403, "device_suspended")
    assert await outcome(device, *lines) == (403, "device_suspended")

    token = {"Authorization": f"Bearer {await device.token()}"}
    live = await world.client.get(f"/v1/towns/{world.town_id}/live", headers=token)
    assert (live.status_code, live.json()["code"]) == (403, "device_suspended")
    assert [one.line for one in await histories.kept_lines(world.town_id, device_id)] == lines
    await world.author(ReleaseDevice(device=device_id, reason="found"))
    parts = world.parts
    came_to = await take_kept(town_id=world.town_id, device_id=device_id, appliers=parts.appliers, towns=parts.towns)
    assert (came_to.decided, came_to.waiting) == (2, 0)
    welcome = orjson.loads((await device.exchange()).content.splitlines()[0])
    assert welcome["acked"] == 2


async def test_of_what_a_suspended_device_sends_so_much_is_kept_and_each_line_once(
    world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.adapters.postgres.histories.KEPT_LINES_MAX", 3)
    device = await world.device()
    device_id, histories = device.answer.device_id, world.parts.towns.histories
    await world.author(SuspendDevice(device=device_id, reason="left in a taxi"))
    lines = [device.line(wish(device)) for _ in range(2)]
    assert await outcome(device, *lines) == (403, "device_suspended")
    lines += [device.line(wish(device)) for _ in range(2)]

    for _ in range(2):
        assert await outcome(device, *lines) == (403, "device_suspended")

    kept = await histories.kept_lines(world.town_id, device_id)
    assert [(one.seq, one.line, one.signature is None) for one in kept] == [
        (1, lines[0], True),
        (2, lines[1], False),
        (3, lines[2], True),
    ]


async def test_of_what_a_suspended_device_sends_so_many_bytes_are_kept_from_the_first_line_on(
    world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await world.device()
    device_id, histories = device.answer.device_id, world.parts.towns.histories
    await world.author(SuspendDevice(device=device_id, reason="left in a taxi"))
    lines = [device.line(wish(device)) for _ in range(4)]
    monkeypatch.setattr("server.adapters.postgres.histories.KEPT_BYTES_MAX", sum(map(len, lines[:3])))

    for _ in range(2):
        assert await outcome(device, *lines) == (403, "device_suspended")
        assert [one.line for one in await histories.kept_lines(world.town_id, device_id)] == lines[:3]

    lines.append(device.line(wish(device)))
    assert await outcome(device, *lines) == (403, "device_suspended")
    assert [one.line for one in await histories.kept_lines(world.town_id, device_id)] == lines[:3]


async def test_what_a_suspended_device_sends_must_be_its_own_chain(world: ApiWorld) -> None:
    device = await world.device()
    await world.author(SuspendDevice(device=device.answer.device_id, reason="left in a taxi"))
    first, _, third = (device.line(wish(device)) for _ in range(3))

    assert await outcome(device, first, third) == (409, "chain_broken")

    assert await world.parts.towns.histories.kept_lines(world.town_id, device.answer.device_id) == []


async def test_a_verdict_that_changed_since_a_lost_history_leaves_one_conflict(world: ApiWorld) -> None:
    device = await world.device()
    line = device.line(wish(device))
    told = [{"seq": 1, "status": "accepted", "version": 7}]

    for _ in range(2):
        assert await outcome(device, line, told=told) == (200, "welcome")

    rows = [orjson.loads(text) for text in (await device.exchange()).content.splitlines()]
    kinds = [row[2]["kind"] for said in rows if said.get("e") == "conflict" for row in said["put"]]
    assert kinds == ["verdict_changed"]


async def test_a_device_that_cannot_send_what_is_missing_is_told_where_to_go_on_once_it_is_released(
    world: ApiWorld,
) -> None:
    device = await world.device()
    stuck = device.hello(pending=3)
    answer = await device.exchange(hello=stuck)
    assert (answer.status_code, orjson.loads(answer.content.splitlines()[0])["acked"]) == (200, 0)
    await world.author(ReleaseDevice(device=device.answer.device_id, reason="what it had sent is lost"))

    answer = await device.exchange(hello=stuck)

    said = answer.json()
    assert (answer.status_code, said["code"], said["from_seq"]) == (409, "chain_released", 1)
    assert (said["head"]["line"], said["head"]["sig"]) == (None, None)
    assert await outcome(device, device.line(wish(device))) == (200, "welcome")
    first = device.seq
    answer = await device.exchange(hello=device.hello(pending=3))
    assert orjson.loads(answer.json()["head"]["line"])["seq"] == first


async def test_a_released_device_that_sends_what_is_here_and_has_more_is_not_told_to_write_anew(
    world: ApiWorld,
) -> None:
    device = await world.device()
    first = device.line(wish(device))
    seen = device.hello(1, pending=3)
    assert (await device.exchange(first, hello=seen)).status_code == 200
    assert await outcome(device, device.line(wish(device))) == (200, "welcome")
    await world.author(ReleaseDevice(device=device.answer.device_id, reason="found"))

    assert (await device.exchange(first, hello=seen)).status_code == 200
    behind = orjson.loads(seen)["hello"] | {"pending": 1}
    answer = await device.exchange(first, hello=orjson.dumps({"hello": behind}))
    assert (answer.status_code, answer.json()["code"]) == (409, "chain_released")
