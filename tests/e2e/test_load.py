"""The scenarios for Locust do what they say to a real server, and the law that their devices end with holds.

How fast anything is, is not tested: a run takes a few seconds and a user of each kind.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson

from server.stack import Stack
from tests.support.site import TOWN, site_on
from tests.support.stack import scratch_directory

ROOT = Path(__file__).resolve().parents[2]
EMAIL, PASSWORD = "load@example.org", "a load of tablets and desks"
SECONDS_MAX = 120
TASKS = 1
EXPECTED = {
    *("hot town: sync", "storm: sync", "poor network: sync"),
    *("hot town: law", "storm: law", "poor network: law"),
    *("office: sign in", "office: stock/receive"),
}


def test_every_scenario_works_for_a_while_and_loses_nothing() -> None:
    # Of its own: somebody else's tries to sign in from this address would count.
    with scratch_directory() as directory, Stack.start(directory / "data") as stack, site_on(stack) as site:
        books = site.office.books
        books.add_admin(TOWN, EMAIL, PASSWORD)
        options = ["--headless", "--json", "--host", site.stack.url, "--email", EMAIL, "--password", PASSWORD]
        amounts = ["-u", "4", "-r", "4", "-t", f"{SECONDS_MAX}s", "--pending", "5", "--tasks", str(TASKS)]

        done = subprocess.run(
            [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", *options, *amounts],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )

        assert done.returncode == 0, done.stderr.decode()[-6000:]
        told = {one["name"]: one for one in orjson.loads(done.stdout)}
        assert {name for name, one in told.items() if one["num_requests"]} >= EXPECTED
        assert [name for name, one in told.items() if one["num_failures"]] == []
        assert books.verify(TOWN).findings == ()
