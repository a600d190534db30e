"""The processes that answer HTTP: `serve`, one API process for containers, and `sandbox`, a provider to play with."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer
import uvicorn

from server.cli.output import examples
from server.listening import HOST
from server.main import HEAD_BYTES_MAX, HTTP
from server.serving import sandbox_app
from server.settings import load_settings

BACKLOG = 2048
DRAIN_SECONDS_MAX = 3
"""How long requests under way may take to end when the API is told to stop."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("serve", epilog=examples("tallystick serve --host 0.0.0.0 --port 8000"))(_serve)
    app.command("sandbox", epilog=examples("tallystick sandbox --port 8090"))(_sandbox)


def _serve(
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen.")] = 8000,
    share_port: Annotated[bool, typer.Option("--share-port", hidden=True)] = False,
) -> None:
    """Run one API process, configured by the environment."""
    load_settings(os.environ)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    config = uvicorn.Config(
        "server.main:app_factory",
        factory=True,
        loop="uvloop",
        http=HTTP,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whom to believe about addresses is a setting of ours
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN_SECONDS_MAX,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _sandbox(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen, on this machine only.")] = 8090,
) -> None:
    """Play a payment provider for development: real HTTP, no money. What happens is said by the payer's number.

    Point TALLYSTICK_MOMO_BASE_URL at it, with any API user and keys. PUT /sandbox/scripts/{number} changes a number.
    Cards are played as well: point TALLYSTICK_CARD_BASE_URL at it; it calls TALLYSTICK_PUBLIC_URL, and signs with
    TALLYSTICK_WEBHOOK_SECRETS. A gateway of text messages is at /reminders, for TALLYSTICK_REMINDERS_URL.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen()
    typer.echo(f"A payment provider is at http://{HOST}:{listener.getsockname()[1]}")
    config = uvicorn.Config(
        sandbox_app(load_settings(os.environ)),
        log_config=None,
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=DRAIN_SECONDS_MAX,
    )
    uvicorn.Server(config).run(sockets=[listener])
