"""`locust -f loadtests/locustfile.py SCENARIO`: the scenarios, and what they want to know about the server.

Locust patches sockets when it is imported, so it is a program of its own and nothing here is imported by others.
"""

from __future__ import annotations

import logging
import time
from threading import Thread
from typing import Any

from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from loadtests.fleet import all_are_there
from loadtests.scenarios.hot_town import HotTown
from loadtests.scenarios.monday_morning import MondayMorning
from loadtests.scenarios.poor_network import PoorNetwork
from loadtests.scenarios.steady_office import SteadyOffice

__all__ = ["HotTown", "MondayMorning", "PoorNetwork", "SteadyOffice"]

CHANGE_SETS = 50
POLL_SECONDS = 0.2

logging.getLogger("httpx2").setLevel(logging.WARNING)  # it has a line for every request


def _options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--email", env_var="TALLYSTICK_LOAD_EMAIL", required=True, help="an admin of the town")
    parser.add_argument("--password", env_var="TALLYSTICK_LOAD_PASSWORD", required=True, help="of the admin")
    parser.add_argument("--town-id", default="", help="which town; else the first one of the admin's")
    parser.add_argument("--pending", type=int, default=CHANGE_SETS, help="unsent change sets of a tablet on Monday")
    parser.add_argument("--tasks", type=int, default=0, help="after how many tasks a user goes home; 0 for never")


def _begun(environment: Environment, **_: object) -> None:
    options: Any = environment.parsed_options
    if options.tasks:
        Thread(target=_quit_when_all_are_gone, args=(environment.runner,), daemon=True).start()


def _quit_when_all_are_gone(runner: Any) -> None:
    all_are_there.wait()
    while runner.user_count:
        time.sleep(POLL_SECONDS)
    runner.quit()


events.test_start.add_listener(_begun)  # type: ignore[no-untyped-call]
events.init_command_line_parser.add_listener(_options)  # type: ignore[no-untyped-call]
