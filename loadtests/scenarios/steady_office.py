"""A steady office: people at desks who look at lists, book goods in, place orders and take them back."""

from __future__ import annotations

import uuid
from typing import Any

from locust import HttpUser, between, task

from loadtests.fleet import Counted, fleet_of

PIECES = 1_000
LISTS = ("orders", "conflicts", "tasks", "devices", "stock-levels")


class SteadyOffice(Counted, HttpUser):
    """One signed-in person; thinks for a second or two between two clicks."""

    wait_time = between(0.5, 2)

    def on_start(self) -> None:
        """Sign in, find a product, and fill its shelf."""
        options: Any = self.environment.parsed_options
        said = {"email": options.email, "password": options.password}
        answer = self.client.post("/v1/sessions", json=said, name="office: sign in")
        self.client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
        self._town, self._warehouse = fleet_of(self.environment).town, fleet_of(self.environment).warehouse
        self._product = self._get("products").json()["items"][0]["id"]
        self._receive(PIECES)  # an order for what is not there is refused, as it should be

    @task(6)
    def look(self) -> None:
        """What is open."""
        for what in LISTS:
            self._get(what)
        self.did()

    @task(2)
    def receive(self) -> None:
        """Goods come in."""
        self._receive(1)
        self.did()

    @task(1)
    def order_and_cancel(self) -> None:
        """A customer calls, and calls again."""
        line = {"product": self._product, "quantity": 1}
        order = {"number": uuid.uuid4().hex[:12], "warehouse": self._warehouse, "customer_name": "Grace"}
        placed = self._post("orders", {**order, "lines": [line]})
        if placed.ok:
            self._post(f"orders/{placed.json()['id']}/cancel", {"reason": "asked for"}, name="orders/[id]/cancel")
        self.did()

    def _receive(self, quantity: int) -> None:
        said = {"warehouse": self._warehouse, "product": self._product, "quantity": quantity}
        self._post("stock/receive", said)

    def _get(self, what: str) -> Any:
        return self.client.get(f"/v1/towns/{self._town}/{what}", name=f"office: look at {what}")

    def _post(self, what: str, said: dict[str, Any], name: str = "") -> Any:
        key = {"Idempotency-Key": str(uuid.uuid4())}
        address = f"/v1/towns/{self._town}/{what}"
        return self.client.post(address, json=said, headers=key, name=f"office: {name or what}")
