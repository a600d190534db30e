"""A poor network: requests that go nowhere, answers that break off at any line, seconds for everything."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from locust import between, task

from client_sdk import Offline
from client_sdk.adapters.http import HttpTransport
from loadtests.fleet import Tablet
from sync.protocol.messages import EnrolAnswer, EnrolRequest, Hello

LOST_SHARE, CUT_SHARE = 0.15, 0.3
SLOW_SECONDS_MAX = 1.0


class PoorWire:
    """The wire, over hills: a `Transport` that loses some requests and cuts some answers."""

    def __init__(self, wire: HttpTransport, chance: random.Random) -> None:
        self._wire, self._chance = wire, chance

    def enrol(self, request: EnrolRequest) -> EnrolAnswer:
        """As it is."""
        return self._wire.enrol(request)

    def exchange(self, hello: Hello, lines: Sequence[bytes]) -> Iterator[bytes]:
        """Late, and not always whole."""
        time.sleep(self._chance.uniform(0, SLOW_SECONDS_MAX))
        if self._chance.random() < LOST_SHARE:
            raise Offline("the request went nowhere")
        is_cut = self._chance.random() < CUT_SHARE
        for line in self._wire.exchange(hello, lines):
            if is_cut and self._chance.random() < CUT_SHARE:
                raise Offline("the answer broke off")
            yield line

    @property
    def bytes_up(self) -> int:
        """As it is."""
        return self._wire.bytes_up

    @property
    def bytes_down(self) -> int:
        """As it is."""
        return self._wire.bytes_down


class PoorNetwork(Tablet):
    """A tablet in the hills."""

    scenario = "poor network"
    wait_time = between(0.5, 2)

    def transport(self, wire: HttpTransport) -> Any:
        """With hills in between, from the first sync on."""
        return PoorWire(wire, random.Random(id(self)))

    @task
    def a_few_pieces(self) -> None:
        """Work goes on whatever the network does."""
        self.work(3)
        with suppress(Offline):
            self.timed("sync", self.replica.sync, expected=[Offline])
        self.did()
