"""Disks without room, for whoever is not root: the system is told that no file of a server may grow beyond a size."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from server.stack import Stack

_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


def limit_files(stack: Stack, bytes_max: str) -> None:
    """No file of PostgreSQL grows beyond `bytes_max`, whatever connection writes it; `unlimited` ends that.

    Done as the account that it runs as: root itself may not do this to others everywhere.
    """
    server = stack._postgres
    assert server is not None
    root = Path(f"/proc/{server.pid}")
    if not root.exists():
        return
    account = root.stat()
    as_it: dict[str, Any] = {"user": account.st_uid, "group": account.st_gid, "extra_groups": []}
    for pid in (server.pid, *_connections(stack)):
        command = ["prlimit", f"--pid={pid}", f"--fsize={bytes_max}:"]
        subprocess.run(command, check=True, **(as_it if os.geteuid() == 0 else {}))


def _connections(stack: Stack) -> list[int]:
    try:
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            return [pid for (pid,) in connection.execute(_BACKENDS)]
    except psycopg.OperationalError:
        return []  # it is down: there are none
