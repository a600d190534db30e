"""The `tallystick` command: every way in which a person or a script runs, fills, looks after and checks a server."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Exit 0: good, 1: found a problem, 2: wrong use."""
    try:
        from server.cli.app import app  # noqa: PLC0415 - without the extra there is only one thing to say
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in {"server", "sync", "migrations"}:
            raise
        sys.exit(f"tallystick: {missing.name} is not installed: pip install 'tallystick[server,embedded]'")
    app(prog_name="tallystick")
