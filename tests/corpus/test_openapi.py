"""Requests made out of the OpenAPI document, for everybody who may come to a door, with the ids of two towns.

Few examples, always the same ones: each test takes seconds. Whatever is found here that is a kind of its own goes into
the corpus.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Final, cast

import pytest
import pytest_asyncio
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server.api.staff import LOOPBACK_COOKIE
from server.stack import Stack
from tests.support.corpus import CorpusWorld, corpus_world
from tests.support.staff_world import PASSWORD, ROLES, TownOfStaff

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = 4
"""Of good and of bad requests, for each operation; every caller sends each."""

UNKNOWN: Final = "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11"
STREAMS = ("/live",)
PUBLIC = ("/catalogue", "/checkout", "/orders/track/{code}", "/sealed")
SECONDS_MAX = 20
PROBLEM_MEMBERS = {"type", "title", "status", "code"}


@schemathesis.serializer("application/x-ndjson", "application/vnd.tallystick.sealed")
def one_line(_context: object, value: object) -> bytes:
    """What was made for a body that is neither JSON nor a form, as a line."""
    return value if isinstance(value, bytes) else json.dumps(value).encode(errors="replace")


@dataclass(frozen=True, kw_only=True, slots=True)
class Callers:
    """What each caller brings, and the ids that are put into addresses."""

    url: str
    headers: Mapping[str, Mapping[str, str]]
    here: TownOfStaff
    there: TownOfStaff

    def ids(self, name: str) -> st.SearchStrategy[str]:
        """Values for a parameter of a path."""
        if name == "town_id":
            return st.sampled_from([self.here.id, self.here.id, self.there.id, UNKNOWN, "0"])
        rows = [
            row
            for town in (self.here, self.there)
            for row in (town.order, town.device, town.warehouse, town.users["driver"])
        ]
        return st.sampled_from([*rows, UNKNOWN, "-1", "A" * 300])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(stack: Stack) -> AsyncIterator[Callers]:
    async with corpus_world(stack, devices=1) as corpus:
        headers: dict[str, Mapping[str, str]] = {"anonymous": {}}
        headers["device"] = {"Authorization": f"Bearer {await corpus.devices[0].token()}"}
        for role in ROLES:
            headers[role] = await signed_in(corpus, role)
        yield Callers(url=stack.url, headers=headers, here=corpus.staff.here, there=corpus.staff.there)


async def signed_in(corpus: CorpusWorld, role: str) -> Mapping[str, str]:
    said = {"email": await corpus.staff.account((corpus.staff.here, role)), "password": PASSWORD}
    answer = await corpus.world.client.post("/v1/sessions", json=said)
    corpus.world.client.cookies.clear()
    return {
        "Cookie": f"{LOOPBACK_COOKIE}={answer.cookies[LOOPBACK_COOKIE]}",
        "X-CSRF-Token": answer.json()["csrf_token"],
    }


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
async def test_whatever_anybody_sends_is_answered_as_the_document_says(callers: Callers, mode: GenerationMode) -> None:
    schema = await asyncio.to_thread(schemathesis.openapi.from_url, f"{callers.url}/openapi.json")
    operations = [cast("Any", found).ok() for found in schema.get_all_operations()]
    assert len(operations) > 30
    operations.sort(
        key=lambda one: (one.path.startswith("/v1/sessions"), one.method == "delete")
    )  # it ends the session
    session = requests.Session()
    session.trust_env = False  # to ask the environment for a proxy at each request takes a third of this test
    for operation in operations:
        if operation.path.endswith(STREAMS):
            continue  # has no end; `tests/server/api/test_live.py` has it
        is_fixed = mode is GenerationMode.NEGATIVE  # then there may be nothing that could be wrong
        with suppress(Unsatisfiable) if is_fixed else nullcontext():
            await asyncio.to_thread(attempts(operation, mode, callers, session))


def attempts(operation: Any, mode: GenerationMode, callers: Callers, session: requests.Session) -> Callable[[], None]:
    """A function that makes the requests of one operation, each for every caller."""
    names = [parameter.name for parameter in operation.path_parameters]

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(generation_mode=mode), ids=st.fixed_dictionaries({n: callers.ids(n) for n in names})
    )
    def attempt(case: Any, ids: Mapping[str, str]) -> None:
        case.path_parameters = dict(ids)
        for name in ("Cookie", "X-CSRF-Token", "Authorization"):
            case.headers.pop(name, None)
        case.cookies.clear()
        for caller, headers in callers.headers.items():
            answer = case.call(base_url=callers.url, session=session, headers=dict(headers), timeout=SECONDS_MAX)
            session.cookies.clear()
            check_answer(case, answer, f"{caller}: {operation.path}")
            check_apart(answer, operation.path, ids, callers)

    return attempt


def check_answer(case: Any, answer: Any, where: str) -> None:
    """No fault of ours; a problem is one, and what is not one is as the document says."""
    assert answer.status_code < 500, (where, case.as_curl_command(), answer.text)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == ["application/problem+json"], (where, answer.headers)
        said = answer.json()
        assert said.keys() >= PROBLEM_MEMBERS, where
        assert said["status"] == answer.status_code
        return
    checks = [status_code_conformance, content_type_conformance, response_schema_conformance]
    case.validate_response(answer, checks=checks)


def check_apart(answer: Any, path: str, ids: Mapping[str, str], callers: Callers) -> None:
    """Nobody here belongs to the other town: nothing is done there, and nothing of it told."""
    if ids.get("town_id") == callers.there.id and not path.endswith(PUBLIC):
        assert answer.status_code >= 400, path
    for row in (callers.there.order, callers.there.device, callers.there.users["driver"]):
        assert row in ids.values() or row not in answer.text, path
