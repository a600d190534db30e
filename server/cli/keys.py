"""`key`: the installation's signing keys, and a new one that the old one vouches for."""

from __future__ import annotations

from typing import Any

import typer

from server.application.ports import Signer
from server.bootstrap import existing_signer, rotated_signer
from server.cli.connect import DataDir, own_settings, settings_for
from server.cli.output import AsJson, examples, out, print_json
from server.settings import Settings, SettingsInvalid


def register(app: typer.Typer) -> None:
    """Add the group."""
    key = typer.Typer(no_args_is_help=True, help="The signing keys of this installation.")
    key.command("list", epilog=examples("tallystick key list", "tallystick key list --json"))(_list)
    key.command("rotate", epilog=examples("tallystick key rotate"))(_rotate)
    app.add_typer(key, name="key")


def _list(*, data: DataDir = None, as_json: AsJson = False) -> None:
    """The public keys, oldest first: the last one signs, and devices seal to its sealing key."""
    _show(existing_signer(_settings(data)), as_json=as_json)


def _rotate(*, data: DataDir = None, as_json: AsJson = False) -> None:
    """Make a new signing key, endorsed by the one before; processes sign with it once they are restarted.

    The old keys stay in the file: what they have signed is verified with them, and what was sealed under them opens.
    Copy the file to its backup, and restart the API processes, the worker and the scheduler one after the other.
    """
    _show(rotated_signer(_settings(data)), as_json=as_json)


def _settings(data: DataDir) -> Settings:
    """Those of the server that is up there, else those of this process: the key is a file, no server is needed."""
    try:
        return settings_for(data)
    except SettingsInvalid:
        return own_settings(data)


def _show(signer: Signer, *, as_json: bool) -> None:
    keys: list[dict[str, Any]] = [
        {
            "kid": key.kid,
            "public_key": key.public_key,
            "sealing_key": key.sealing_key,
            "endorsed_by": key.endorsed_by,
            "is_in_use": key.kid == signer.kid,
        }
        for key in signer.published
    ]
    if as_json:
        print_json(keys)
        return
    for key in keys:
        mark = "in use " if key["is_in_use"] else "earlier"
        out.print(f"{mark}  {key['kid']}  signs {key['public_key']}  seals to {key['sealing_key']}", soft_wrap=True)
