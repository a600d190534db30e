"""Two ordered streams read as one: what the journal gives and what is stored, each place once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Place = TypeVar("Place", bound=tuple[str, ...])
Ours = TypeVar("Ours")
Theirs = TypeVar("Theirs")


async def streamed(items: Iterator[Item]) -> AsyncIterator[Item]:
    """An iterator as a stream."""
    for item in items:
        yield item


async def side_by_side(
    ours: AsyncIterator[tuple[Place, Ours]], theirs: AsyncIterator[tuple[Place, Theirs]]
) -> AsyncIterator[tuple[Place, Ours | None, Theirs | None]]:
    """(place, ours, theirs) in order, None for what one of them lacks; both streams ascend."""
    our, their = await anext(ours, None), await anext(theirs, None)
    while our or their:
        if our and (their is None or our[0] < their[0]):
            yield our[0], our[1], None
            our = await anext(ours, None)
        elif their and (our is None or their[0] < our[0]):
            yield their[0], None, their[1]
            their = await anext(theirs, None)
        elif our and their:
            yield our[0], our[1], their[1]
            our, their = await anext(ours, None), await anext(theirs, None)
