"""Monday morning: everybody has a day's work and switches on at the same time."""

from __future__ import annotations

from typing import Any

from locust import constant, task

from loadtests.fleet import Tablet, all_are_there

WAIT_SECONDS_MAX = 120


class MondayMorning(Tablet):
    """A tablet that waits with its work until the last one is there, and from then on syncs now and then."""

    scenario = "storm"
    wait_time = constant(5)

    def on_start(self) -> None:
        """A day's work, unsent."""
        super().on_start()
        options: Any = self.environment.parsed_options
        self.work(options.pending)
        all_are_there.wait(WAIT_SECONDS_MAX)

    @task
    def come_back(self) -> None:
        """All of it up, and what the others did down."""
        self.sync()
        self.did()
