"""The `tallystick` command: every way in which a person or a script runs, fills, looks after and checks a server."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line. Exit 0: good, 1: found a problem, 2: wrong use."""
    gc.disable()  # what is loaded stays: to look for what could go takes a fifth of the start
    try:
        from server.cli.app import app_for  # noqa: PLC0415 - without the extra there is only one thing to say
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in {"server", "sync", "migrations"}:
            raise
        sys.exit(f"tallystick: {missing.name} is not installed: pip install 'tallystick[server,embedded]'")
    app = app_for(sys.argv[1:])
    gc.freeze()
    gc.enable()
    app(prog_name="tallystick")
