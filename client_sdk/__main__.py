"""`python -m client_sdk rescue REPLICA FILE`: seal the unsent work of a replica that no app opens any more.

Exit 0: everything unsent is in the file. 1: some of it, or none, as the last line on standard error says. 2: wrong use.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path

from client_sdk.adapters.keys import read_key
from client_sdk.adapters.sqlite.salvage import salvage
from client_sdk.adapters.system import RealSystem
from client_sdk.application.rescue import seal_lines, write_sealed
from client_sdk.errors import WrongPassphrase
from sync.kernel.errors import TallystickError

GOOD, PROBLEM = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        return _rescue(asked.replica, asked.file, asked.sealing_key, is_piped=asked.passphrase_stdin)
    except TallystickError as fault:
        sys.stderr.write(f"client_sdk: {fault.message}\n")
        return PROBLEM


def _rescue(path: Path, file: Path, sealing_key: str | None, *, is_piped: bool) -> int:
    found = salvage(path, _key(path, is_piped=is_piped))
    sealed = seal_lines(found.town, found.device, sealing_key or found.sealing_key, found.lines, RealSystem())
    write_sealed(file, sealed)
    sys.stdout.write(f"{len(found.lines)} change sets are in {file}: take it to the office, for `tallystick rescue`.\n")
    if found.lost:
        sys.stderr.write(f"client_sdk: {found.lost} further change sets cannot be read any more.\n")
    return PROBLEM if found.lost else GOOD


def _key(path: Path, *, is_piped: bool) -> bytes:
    """The replica's key; without a keystore the passphrase is asked for, or read from standard input."""
    if is_piped:
        return read_key(path, sys.stdin.readline().rstrip("\n"))
    try:
        return read_key(path, None)
    except WrongPassphrase:
        return read_key(path, getpass.getpass("Passphrase: "))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m client_sdk", description="Tools for replicas.")
    commands = parser.add_subparsers(required=True)
    rescue = commands.add_parser(
        "rescue",
        help="seal the unsent work of a replica for its server",
        epilog="example: python -m client_sdk rescue van.db rescue.tally",
    )
    rescue.add_argument("replica", type=Path, help="the replica's file, with its key file beside it")
    rescue.add_argument("file", type=Path, help="where to put the sealed file")
    rescue.add_argument("--passphrase-stdin", action="store_true", help="read the passphrase from standard input")
    rescue.add_argument(
        "--sealing-key", metavar="KEY", help="the server's, as `tallystick key list` shows it; else the replica's own"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
