"""A provider's sandbox on a port of its own, as a real server in a thread; a test looks into its memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import uvicorn
from starlette.applications import Starlette

from server.adapters.payments.card_sandbox import CardSandbox
from server.adapters.payments.momo import MomoAccount
from server.adapters.payments.sandbox import Sandbox
from server.adapters.reminder_sandbox import ReminderSandbox
from sync.kernel.ids import derived_id

CALL_SECONDS_MAX = 2.0
"""A test's patience with a provider that hangs; long enough for one that answers on a busy machine."""


@contextmanager
def provider() -> Iterator[tuple[Sandbox, str]]:
    """The sandbox of mobile money and its address."""
    sandbox = Sandbox()
    with _served(sandbox.app) as url:
        yield sandbox, url


@contextmanager
def card_provider() -> Iterator[tuple[CardSandbox, str]]:
    """The sandbox of cards and its address; it tells nobody anything unless it is told whom."""
    sandbox = CardSandbox()
    with _served(sandbox.app) as url:
        yield sandbox, url


@contextmanager
def reminder_gateway(*secrets: bytes, clock: Callable[[], float] = time.time) -> Iterator[tuple[ReminderSandbox, str]]:
    """The sandbox of text messages and its address; it knows these secrets."""
    sandbox = ReminderSandbox(secrets, clock=clock)
    with _served(sandbox.app) as url:
        yield sandbox, f"{url}/reminders"


@contextmanager
def _served(app: Starlette) -> Iterator[str]:
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none", timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def account(url: str) -> MomoAccount:
    """Somebody whom the sandbox knows."""
    return MomoAccount(base_url=url, api_user="user", api_key="key", subscription_key="subscription")


def reference(number: int) -> str:
    """A UUID of version 4, always the same."""
    return str(UUID(derived_id("reference", number), version=4))
