"""The provider of mobile money in the demo: `tallystick sandbox` as a process of its own, and its customers' thumbs."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson

from server.children import Child
from server.domain.payments import provider_reference
from server.listening import HOST

ANSWER_SECONDS_MAX = 5.0
PAID, PENDING_FOR_EVER = "SUCCESSFUL", 1_000_000


class Provider:
    """One running provider; made by `open_provider`."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def settings(self) -> Mapping[str, str]:
        """What a server has to have set to use it."""
        return {
            "TALLYSTICK_MOMO_BASE_URL": self.url,
            "TALLYSTICK_MOMO_API_USER": "demo",
            "TALLYSTICK_MOMO_API_KEY": "demo",
            "TALLYSTICK_MOMO_SUBSCRIPTION_KEY": "demo",
        }

    def will_think(self, number: str) -> None:
        """Whoever has this number looks at the telephone, and does nothing until `press`."""
        self._put(f"scripts/{number}", {"pending_asks": PENDING_FOR_EVER, "callback": "once", "after_seconds": 3600})

    def will_not_answer(self, number: str) -> None:
        """Whoever has this number does not look: the request expires at the provider."""
        self._put(f"scripts/{number}", {"word": "FAILED", "reason": "EXPIRED"})

    def press(self, payment: str) -> None:
        """The customer agrees to this payment of ours; the provider calls back."""
        self._put(f"requests/{provider_reference(payment)}", {"status": PAID})

    def held(self, payment: str) -> Mapping[str, Any] | None:
        """What the provider has of this payment of ours, with how often it was asked and how its calls back went."""
        listed = httpx2.get(f"{self.url}/sandbox/requests", timeout=ANSWER_SECONDS_MAX).json()
        return next((one for one in listed if one["reference"] == provider_reference(payment)), None)

    def _put(self, path: str, document: Mapping[str, Any]) -> None:
        content = orjson.dumps(document)
        httpx2.put(f"{self.url}/sandbox/{path}", content=content, timeout=ANSWER_SECONDS_MAX).raise_for_status()


@contextmanager
def open_provider(directory: Path) -> Iterator[Provider]:
    """A provider on a free port, starting up; it ends with the block, or with this process."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    child = Child(
        name="provider",
        command=[sys.executable, "-m", "server.cli", "sandbox", "--port", str(port)],
        log_path=directory / "provider.log",
    )
    child.start(dict(os.environ))
    try:
        yield Provider(f"http://{HOST}:{port}")
    finally:
        child.kill()
        child.end(0)
