"""One running installation for each file of tests here, without rates: what is sent is a storm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from server.cli.bench.suite import WITHOUT_RATES
from server.stack import Stack
from tests.support.stack import scratch_directory


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    environment = {**WITHOUT_RATES, "TALLYSTICK_API_DOCS": "true"}
    with scratch_directory() as directory, Stack.start(directory / "data", environment=environment) as running:
        yield running
