"""The application that an ASGI server is given by name, and how that server must read HTTP.

`tallystick serve` keeps to it; whoever starts uvicorn otherwise gives it
`--factory server.main:app_factory --http h11 --h11-max-incomplete-event-size 65536 --no-proxy-headers`.
"""

from __future__ import annotations

import gc
import os
from typing import Final

from fastapi import FastAPI

from server.allocator import keep_no_holes
from server.serving import build_app
from server.settings import load_settings
from server.telemetry import configure_logging
from server.tracing import start_tracing

HTTP: Final = "h11"
"""uvicorn's parser with a limit on what is not body; with the other one, httptools, a head may take all memory."""

HEAD_BYTES_MAX: Final = 64 * 1024
"""Request line and headers of one request, or what comes behind a chunked body."""


def app_factory() -> FastAPI:
    """The application as the environment configures it. Raises `SettingsInvalid`."""
    keep_no_holes()
    settings = load_settings(os.environ)
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    start_tracing(settings.otlp_endpoint, process="api")
    app = build_app(settings)
    # What is there now stays: a full collection, which stops everything, need not look at it again (200 ms, then 40).
    gc.collect()
    gc.freeze()
    return app
