"""The list of people says for which school somebody works."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from server.cli.app import whole_app
from sync.modules.identity import AddUser
from sync.modules.schools import OpenSchool
from tests.support.real_town import RealTown, real_town

NOBODY = "redis://127.0.0.1:1/0"


async def listed(town: RealTown, database_url: str, data_dir: Path, *words: str) -> str:
    """What the command prints; it has an event loop of its own, so it gets a thread."""
    environment = {"DATABASE_URL": database_url, "REDIS_URL": NOBODY, "TALLYSTICK_DATA_DIR": str(data_dir)}
    said = ["user", "list", "--town", town.id, *words]
    done = await asyncio.to_thread(CliRunner().invoke, whole_app(), said, env={**environment, "COLUMNS": "200"})
    return str(done.stdout)


async def test_who_works_for_one_school_is_listed_with_it(migrated_database: str, tmp_path: Path) -> None:
    async with real_town(migrated_database) as town:
        school = town.new_id()
        await town.author(OpenSchool(id=school, name="North School"))
        await town.author(
            AddUser(id=town.new_id(), name="Sue", login="sue", user_roles=["school_office"], school=school)
        )
        await town.author(AddUser(id=town.new_id(), name="Tom", login="tom", user_roles=["school_office"]))

        people: list[dict[str, Any]] = json.loads(await listed(town, migrated_database, tmp_path, "--json"))
        shown = await listed(town, migrated_database, tmp_path)

    schools = {one["name"]: (one["school"], one["school_id"]) for one in people}
    assert schools == {"Ada": (None, None), "Dan": (None, None), "Sue": ("North School", school), "Tom": (None, None)}
    told = {words[0]: words[3:5] for words in (line.split() for line in shown.splitlines())}
    assert (told["Sue"], told["Tom"][0], told["Dan"][0]) == (["North", "School"], "all", "-")
