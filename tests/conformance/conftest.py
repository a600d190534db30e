"""Every kind of store, enrolled, for the suites that each of them has to pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from client_sdk.application.ports import Store
from tests.support.stores import new_store
from tests.support.toy import toy_identity


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = new_store(request.param, tmp_path)
    made.enrolled(toy_identity(made.device_key()))
    yield made
    made.close()
