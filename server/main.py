"""The application that an ASGI server is given by name: `uvicorn --factory server.main:app_factory`."""

from __future__ import annotations

import os

from fastapi import FastAPI

from server.bootstrap import build_app
from server.settings import load_settings
from server.telemetry import configure_logging


def app_factory() -> FastAPI:
    """The application as the environment configures it. Raises `SettingsInvalid`."""
    settings = load_settings(os.environ)
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    return build_app(settings)
