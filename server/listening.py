"""The API's port: taken before the API is there, kept while it is away, and asked whether it serves."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import ClassVar

from sync.kernel.errors import TallystickError

HOST = "127.0.0.1"
POLL_SECONDS = 0.05
PORT_WAIT_SECONDS_MAX = 3.0
"""How long a start waits for a port that a stack before it may just be leaving."""


class PortTaken(TallystickError):
    """The port is used by another program."""

    code: ClassVar[str] = "port_taken"


def reserved(host: str, port: int, is_stopping: Callable[[], bool]) -> socket.socket:
    """A socket that holds the port (0: a free one), bound and not listening.

    It is shared only with sockets that ask for sharing, which our API's do. Raises `PortTaken`.
    """
    deadline = time.monotonic() + PORT_WAIT_SECONDS_MAX
    while True:
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
                found: int = probe.getsockname()[1]
        except OSError as fault:
            if is_stopping() or time.monotonic() > deadline:
                raise PortTaken(
                    f"port {port} of {host or HOST} cannot be used ({fault.strerror}): choose another with --port"
                ) from None
            time.sleep(POLL_SECONDS)
            continue
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, found))
        return holder


def is_ready(url: str) -> bool:
    """Whether the API at this address can serve."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310 - our own http:// URL
            return True
    except (urllib.error.URLError, OSError):
        return False
