"""Room for what is decided at a time: nobody passes another of its town, and who gives up leaves no hole."""

from __future__ import annotations

import asyncio

from server.application.room import Room


class Guests:
    """People who come with so much, stay until they are told to go, and are seen to be in."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.inside: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._may_go: dict[str, asyncio.Event] = {}

    async def come(self, name: str, size: int, town: str = "Douglas") -> None:
        self._may_go[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._stay(name, size, town))
        await settled()

    async def go(self, name: str) -> None:
        self._may_go[name].set()
        await self._tasks[name]
        await settled()

    async def give_up(self, name: str) -> None:
        self._tasks[name].cancel()
        await settled()

    async def _stay(self, name: str, size: int, town: str) -> None:
        async with self.room.taken(town, size):
            self.inside.append(name)
            try:
                await self._may_go[name].wait()
            finally:
                self.inside.remove(name)


async def settled() -> None:
    """Everybody who can go on has gone on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_there_is_room_for_so_many_bytes_and_the_next_waits() -> None:
    guests = Guests(Room(bytes_max=10, town_bytes_max=10))
    await guests.come("a", 6)
    await guests.come("b", 4)
    await guests.come("c", 1)
    assert guests.inside == ["a", "b"]

    await guests.go("b")

    assert guests.inside == ["a", "c"]


async def test_a_small_one_does_not_pass_a_large_one_that_waits() -> None:
    guests = Guests(Room(bytes_max=10, town_bytes_max=10))
    await guests.come("a", 6)
    await guests.come("large", 9)
    await guests.come("small", 1)
    assert guests.inside == ["a"]

    await guests.go("a")

    assert guests.inside == ["large", "small"]


async def test_what_is_larger_than_the_room_has_it_to_itself() -> None:
    guests = Guests(Room(bytes_max=10, town_bytes_max=10))
    await guests.come("a", 1)
    await guests.come("huge", 99)
    assert guests.inside == ["a"]

    await guests.go("a")
    await guests.come("b", 1)
    assert guests.inside == ["huge"]

    await guests.go("huge")
    assert guests.inside == ["b"]


async def test_who_gives_up_while_waiting_leaves_the_room_to_the_next() -> None:
    guests = Guests(Room(bytes_max=10, town_bytes_max=10))
    await guests.come("a", 10)
    await guests.come("b", 10)
    await guests.come("c", 10)

    await guests.give_up("b")
    await guests.go("a")

    assert guests.inside == ["c"]


async def test_who_gives_up_when_let_in_already_takes_nothing_along() -> None:
    guests = Guests(Room(bytes_max=10, town_bytes_max=10))
    async with guests.room.taken("Douglas", 10):
        await guests.come("b", 10)
    await guests.give_up("b")  # it has been let in just now, and did not go on yet
    await guests.come("c", 10)

    assert guests.inside == ["c"]


async def test_a_town_that_has_its_part_waits_and_holds_up_no_other() -> None:
    guests = Guests(Room(bytes_max=10, town_bytes_max=5))
    await guests.come("a", 5)
    await guests.come("b", 1)
    await guests.come("of another town", 5, town="Ramsey")
    assert guests.inside == ["a", "of another town"]

    await guests.go("a")

    assert guests.inside == ["of another town", "b"]


async def test_nobody_passes_another_of_the_same_town() -> None:
    guests = Guests(Room(bytes_max=10, town_bytes_max=5))
    await guests.come("a", 4)
    await guests.come("large", 3)
    await guests.come("small", 1)
    assert guests.inside == ["a"]

    await guests.go("a")

    assert guests.inside == ["large", "small"]


async def test_what_is_larger_than_a_towns_part_comes_in_when_nothing_of_the_town_is_there() -> None:
    guests = Guests(Room(bytes_max=10, town_bytes_max=5))
    await guests.come("of another town", 1, town="Ramsey")
    await guests.come("a", 1)
    await guests.come("large", 9)
    assert guests.inside == ["of another town", "a"]

    await guests.go("a")

    assert guests.inside == ["of another town", "large"]
