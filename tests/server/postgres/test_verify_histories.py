"""What is kept of epochs and halts is proven by `verify`: whatever was altered, added or taken away is found."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import LiteralString

import psycopg
import pytest

from server.application.history_ports import Halt, TownHalted
from sync.engine.chain import journal_message, older_journal_message
from sync.kernel.clock import format_time
from tests.support.real_town import RealTown
from tests.support.write_path import findings, receive, version


async def halt(town: RealTown) -> None:
    """The town is halted over a head that the server has signed."""
    async with town.towns.reading(town.id) as reader:
        entry, head = await reader.journal_entry(1), reader.head
    assert entry is not None
    await town.towns.histories.halt(
        town.id,
        Halt(
            id=town.new_id(),
            device_id=town.admin_id,
            epoch=head.epoch,
            version=1,
            journal=entry.digest,
            signature=entry.signature,
            head_version=head.version,
            halted_at=format_time(town.system.now_ms()),
        ),
    )


async def test_an_epoch_begins_with_a_version_of_its_own_and_ends_a_halt(town: RealTown) -> None:
    before = await version(town)
    await halt(town)
    with pytest.raises(TownHalted):
        await town.author(receive(town))

    epoch = await town.appliers.begin_epoch(town.id, "a backup was restored")

    await town.author(receive(town))
    [record] = await town.towns.histories.epochs(town.id)
    assert (record.epoch, record.version, await version(town)) == (epoch, before, before + 2)
    assert [one.ended for one in await town.towns.histories.halts(town.id)] == [epoch]
    assert await findings(town) == ()


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE tallystick.epochs SET reason = 'another'", "its record is not what the server has signed"),
        ("UPDATE tallystick.epochs SET version = version - 1", "its record is not what the server has signed"),
        ("DELETE FROM tallystick.epochs", "and no record says so"),
        ("UPDATE tallystick.halts SET version = version + 1", "the server has not signed the head"),
        ("DELETE FROM tallystick.resumptions", "it says not halted, what is recorded of halts says halted"),
        ("UPDATE tallystick.town_heads SET is_halted = true", "it says halted"),
    ],
)
async def test_what_was_altered_behind_the_keys_is_found(
    town: RealTown, migrated_database: str, statement: LiteralString, found: str
) -> None:
    await halt(town)
    await town.appliers.begin_epoch(town.id, "a backup was restored")
    with psycopg.connect(migrated_database) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement)

    assert found in " ".join(finding.what for finding in await findings(town))


def sign_again(town: RealTown, database: str, message: Callable[[int, bytes], bytes]) -> None:
    """Every journal entry, and the halt, with the server's signature over what `message` makes of version and hash."""
    with psycopg.connect(database) as connection:
        connection.execute("SET session_replication_role = replica")
        for version_, digest in connection.execute("SELECT version, hash FROM tallystick.journal").fetchall():
            told = [town.signer.sign(message(version_, digest)), version_]
            connection.execute("UPDATE tallystick.journal SET signature = %s WHERE version = %s", told)
            connection.execute("UPDATE tallystick.halts SET signature = %s WHERE version = %s", told)


async def test_heads_that_were_signed_before_they_named_their_epoch_are_still_believed(
    town: RealTown, migrated_database: str
) -> None:
    await halt(town)
    await town.appliers.begin_epoch(town.id, "a backup was restored")

    sign_again(town, migrated_database, partial(older_journal_message, town.id))

    assert await findings(town) == ()


async def test_a_head_that_was_signed_in_another_epoch_is_found(town: RealTown, migrated_database: str) -> None:
    await halt(town)
    epoch = await town.appliers.begin_epoch(town.id, "a backup was restored")
    last = await version(town)

    sign_again(town, migrated_database, partial(journal_message, town.id, epoch))

    found = [(one.where.split()[0], one.what) for one in await findings(town)]
    assert found == [("journal", "its signature is not the server's")] * (last - 1) + [
        ("halt", "the server has not signed the head that it is about")
    ]
