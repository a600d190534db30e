"""Every piece of bad input gets a clear problem from a real server process: nothing lost, nothing repeated, no memory.

The files beside this one are the corpus; whatever is found in the field goes into them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from server.cli.bench.instruments import peak_mib, reset_peak
from server.stack import Stack
from tests.support.corpus import MARK, CorpusWorld, cases, corpus_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASES = dict(cases())
SPOILING = sum(bool(case.get("spoils")) for case in CASES.values())
ROUNDS = 3
GROWTH_MIB_MAX = 20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def corpus(stack: Stack) -> AsyncIterator[CorpusWorld]:
    async with corpus_world(stack, devices=1 + ROUNDS * SPOILING) as made:
        yield made


@pytest.mark.parametrize("name", CASES)
async def test_bad_input_gets_a_clear_answer_and_nothing_is_lost(corpus: CorpusWorld, name: str) -> None:
    case: Any = CASES[name]

    outcome = await corpus.send(case)

    assert outcome.told in case["expect"], outcome.body[:500]
    assert not outcome.told.startswith("5")
    assert MARK.encode() not in outcome.body
    assert "server" not in outcome.headers
    assert await corpus.is_well()


async def test_the_corpus_moves_the_memory_of_the_server_by_less_than_20_mib(corpus: CorpusWorld) -> None:
    await send_all(corpus)  # whatever is made once is made now
    settled = rss_mib(corpus.stack.api_pid)
    reset_peak(corpus.stack.api_pid)

    await send_all(corpus)

    peak = peak_mib(corpus.stack.api_pid)
    assert peak is not None
    assert rss_mib(corpus.stack.api_pid) - settled < GROWTH_MIB_MAX
    assert peak - settled < GROWTH_MIB_MAX


async def send_all(corpus: CorpusWorld) -> None:
    for case in CASES.values():
        await corpus.send(case)
    assert await corpus.is_well()


def rss_mib(pid: int) -> float:
    """What the process holds now."""
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123
        (line,) = [line for line in status if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024
