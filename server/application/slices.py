"""Long work in the event loop, cut into slices so that everybody else has a turn in between.

The rejected alternative, a thread, would have the same processor and would need locks around what the work reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")

SLICE_SECONDS = 0.005
"""How long the work goes on before the others have their turn; one step of it may take longer."""


async def in_slices(work: Generator[None, None, Result]) -> Result:
    """Run `work`, which yields where it may rest, and give what it returns; raises what it raises."""
    loop = asyncio.get_running_loop()
    rest_at = loop.time() + SLICE_SECONDS
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
        if loop.time() >= rest_at:
            await asyncio.sleep(0)
            rest_at = loop.time() + SLICE_SECONDS
