"""The adapter of text messages against a real HTTP server: signed, taken once under its id, refused or tried again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from server.adapters.memory import MemorySystem
from server.adapters.redis.breaker import FAILURES_MAX
from server.adapters.reminder_gateway import HttpGateway
from server.adapters.reminder_sandbox import GatewayFault, ReminderSandbox
from server.application.reminder_ports import GatewayRefused, GatewayUnavailable
from server.domain.webhooks import TOLERANCE_SECONDS
from tests.support.debts import PHONE, SECRET, gateway_at, reminder

ONE = reminder()


class Post:
    """The adapter, the gateway's memory and the time of both."""

    def __init__(self, gateway: HttpGateway, sandbox: ReminderSandbox, system: MemorySystem, url: str) -> None:
        self.gateway, self.sandbox, self.system, self.url = gateway, sandbox, system, url

    async def send(self) -> None:
        await self.gateway.send("t", ONE)


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    system = MemorySystem()
    async with gateway_at(system) as (gateway, sandbox, url):
        yield Post(gateway, sandbox, system, url)


async def test_a_reminder_is_handed_over_as_it_is_documented(post: Post) -> None:
    await post.send()

    document = {"id": ONE.id, "town": "t", "to": PHONE, "text": ONE.text, "invoice": ONE.invoice_id, "number": 1}
    assert post.sandbox.taken == {ONE.id: document}


async def test_one_that_is_handed_over_again_later_is_the_same_one(post: Post) -> None:
    for _ in range(3):
        await post.send()
        post.system.advance(TOLERANCE_SECONDS + 1)  # it is signed anew each time

    assert post.sandbox.posts == [ONE.id] * 3
    assert list(post.sandbox.taken) == [ONE.id]


async def test_another_text_under_the_same_id_is_refused(post: Post) -> None:
    await post.send()

    with pytest.raises(GatewayRefused, match="409: idempotency_mismatch"):
        await post.gateway.send("t", replace(ONE, text="another"))


@pytest.mark.parametrize("keys", [(SECRET,), (b"a new secret of ours", SECRET), (SECRET, b"an old secret of ours")])
async def test_while_a_secret_is_changed_it_is_signed_with_both(post: Post, keys: tuple[bytes, ...]) -> None:
    gateway = HttpGateway(post.url, keys, system=post.system)
    await gateway.send("t", ONE)
    await gateway.close()

    assert list(post.sandbox.taken) == [ONE.id]


async def test_what_was_signed_with_another_secret_is_not_taken(post: Post) -> None:
    post.sandbox.secrets = (b"a secret of somebody else",)

    with pytest.raises(GatewayRefused, match="401: webhook_forged"):
        await post.send()
    assert not post.sandbox.posts


@pytest.mark.parametrize(
    ("fault", "why", "is_taken"),
    [
        ("500", "HTTP 500", False),
        ("500_in", "HTTP 500", True),
        ("hang_in", "TimeoutError", True),
        ("cut_in", "RemoteProtocolError", True),
        ("302", "HTTP 302", False),
        ("408", "HTTP 408", False),
        ("429", "HTTP 429", False),
        ("endless", "no end", True),
    ],
)
async def test_what_may_not_have_been_taken_is_tried_again_and_taken_once(
    post: Post, fault: GatewayFault, why: str, *, is_taken: bool
) -> None:
    post.sandbox.have(fault)

    with pytest.raises(GatewayUnavailable, match=why):
        await post.send()
    assert bool(post.sandbox.taken) is is_taken
    await post.send()

    assert post.sandbox.posts == [ONE.id] * 2
    assert list(post.sandbox.taken) == [ONE.id]


async def test_what_the_gateway_does_not_take_is_refused_with_its_reason(post: Post) -> None:
    post.sandbox.have("400")

    with pytest.raises(GatewayRefused, match="400: no_such_number"):
        await post.send()


async def test_whatever_a_gateway_says_that_has_taken_it_it_is_taken(post: Post) -> None:
    post.sandbox.have("garbage")

    await post.send()

    assert list(post.sandbox.taken) == [ONE.id]


async def test_what_stays_on_this_machine_goes_through_no_proxy(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    await post.send()

    assert list(post.sandbox.taken) == [ONE.id]


async def test_a_gateway_that_is_silent_is_left_in_peace_for_a_while(post: Post) -> None:
    silent: GatewayFault = "500"
    post.sandbox.have(*[silent] * FAILURES_MAX)

    for _ in range(FAILURES_MAX + 2):
        with pytest.raises(GatewayUnavailable):
            await post.send()

    assert len(post.sandbox.posts) == FAILURES_MAX
