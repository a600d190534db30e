"""Memory that was freed in between of what is kept goes back to the system."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import asyncio
from contextlib import suppress

from server.allocator import give_back_for_ever, keep_no_holes
from server.metrics import resident_bytes

async def some_time():
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await give_back_for_ever()

is_set_up = keep_no_holes()
rows = [bytes(600 + number % 7_000) for number in range(20_000)]
kept = rows[::10]
del rows
full = resident_bytes()
asyncio.run(some_time())
print(is_set_up, (full - resident_bytes()) // 2**20 > 20)
"""


def test_holes_between_what_is_kept_are_given_back() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)

    is_set_up, is_given_back = run.stdout.split()
    assert (is_given_back, run.stderr) == (is_set_up, "")
