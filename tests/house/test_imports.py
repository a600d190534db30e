"""Who may import whom: the contracts in pyproject.toml hold, cover every package, and fire when one is broken."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
NOT_FOR_THE_SDK = ("fastapi", "sqlalchemy", "sqlmodel", "starlette", "psycopg", "redis", "rq", "alembic", "server")

PACKAGES = ["client_sdk", "loadtests", "migrations", "server", "sync"]
SKELETON = [
    *("client_sdk/application", "loadtests", "migrations"),
    *(
        "server/adapters/postgres/tables",
        "server/api",
        "server/application",
        "server/console",
        "server/domain",
        "server/jobs",
    ),
    *("sync/engine", "sync/kernel", "sync/modules", "sync/protocol"),
]

BREACHES = [
    ("sync/kernel/ids.py", "import server.domain", "server and client_sdk are strangers over sync"),
    ("client_sdk/replica.py", "import server.domain", "server and client_sdk are strangers over sync"),
    ("server/domain/people.py", "import client_sdk", "server and client_sdk are strangers over sync"),
    ("server/domain/people.py", "import migrations", "nothing imports migrations or loadtests"),
    ("loadtests/fleet.py", "import server.domain", "loadtests drive client_sdk and never server"),
    ("migrations/env.py", "import client_sdk", "migrations do not know client_sdk"),
    ("migrations/env.py", "import server.domain", "migrations read the tables and nothing else of server"),
    ("sync/kernel/ids.py", "import sync.modules", "protocol and engine above modules above kernel"),
    ("sync/modules/school.py", "import sync.protocol", "protocol and engine above modules above kernel"),
    ("sync/engine/decide.py", "import sync.modules", "engine knows modules only through kernel.module"),
    ("sync/kernel/ids.py", "import random", "sync is pure"),
    ("server/domain/people.py", "import server.application", "entry points above serving and bootstrap above edges"),
    ("server/api/app.py", "import server.adapters.postgres", "entry points above serving and bootstrap above edges"),
    ("server/application/ports.py", "import psycopg", "only adapters speak SQL, Redis and HTTP-out"),
    (
        "server/main.py",
        "import server.adapters.postgres",
        "providers and serving name concrete adapters",
    ),
    ("client_sdk/replica.py", "import sqlalchemy", "client_sdk needs no server package"),
]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the folder's pyproject.toml against the packages in the folder."""
    return subprocess.run(
        [LINT_IMPORTS, "--no-logo", "--no-cache", "--config", folder / "pyproject.toml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"},
        capture_output=True,
        check=False,
        text=True,
    )


def loaded_by_the_sdk() -> set[str]:
    """The top-level packages in memory after `import client_sdk` in a fresh interpreter."""
    script = "import sys, client_sdk; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True, text=True)
    return set(run.stdout.split())


def lay_skeleton(folder: Path) -> None:
    """Put our contracts over a tree of empty packages, also of those that the repository has not got yet."""
    settings = (ROOT / "pyproject.toml").read_text()
    everything = re.sub(r"^root_packages = .*$", f"root_packages = {PACKAGES}", settings, flags=re.MULTILINE)
    (folder / "pyproject.toml").write_text(everything)
    for package in SKELETON:
        (folder / package).mkdir(parents=True)
    for found in list(folder.rglob("*/")):
        (found / "__init__.py").touch()


def test_importing_the_sdk_loads_nothing_of_the_server() -> None:
    assert loaded_by_the_sdk().isdisjoint(NOT_FOR_THE_SDK)


def test_importing_the_sdk_leaves_the_http_client_for_later() -> None:
    assert "httpx2" not in loaded_by_the_sdk()


def test_the_import_contracts_hold() -> None:
    run = lint_imports(ROOT)

    assert run.returncode == 0, run.stdout + run.stderr


def test_every_package_is_under_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}

    assert set(settings["root_packages"]) == packages


def test_an_empty_house_breaks_no_contract(tmp_path: Path) -> None:
    lay_skeleton(tmp_path)

    run = lint_imports(tmp_path)

    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(("path", "line", "contract"), BREACHES)
def test_a_forbidden_import_breaks_its_contract(tmp_path: Path, path: str, line: str, contract: str) -> None:
    lay_skeleton(tmp_path)
    (tmp_path / path).write_text(f"{line}\n")

    run = lint_imports(tmp_path)

    broken = [said for said in run.stdout.splitlines() if said.endswith("BROKEN")]
    assert any(contract in said for said in broken), run.stdout + run.stderr
