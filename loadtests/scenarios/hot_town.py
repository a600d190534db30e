"""A hot town: all tablets stand at the same shelf and sync after every piece."""

from __future__ import annotations

from locust import between, task

from loadtests.fleet import Tablet


class HotTown(Tablet):
    """A tablet that is never quiet for long."""

    scenario = "hot town"
    wait_time = between(0.1, 0.5)

    @task
    def a_piece(self) -> None:
        """One piece in, and a sync."""
        self.work(1)
        self.sync()
        self.did()
