"""A customer at the doors of the shop: no account, no cookie, a telephone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx2
import orjson

from tests.support.staff_world import PRODUCT, StaffWorld, TownOfStaff


@dataclass(kw_only=True)
class Customer:
    """Somebody who orders from a town."""

    staff: StaffWorld
    town: TownOfStaff
    phone: str = "+44 1624 123456"

    def wish(self, quantity: int = 2, **changes: Any) -> dict[str, Any]:
        """A good document for the till."""
        said = {
            "customer_name": "Grace Quayle",
            "phone": self.phone,
            "address": "1 High Street",
            "lines": [{"product": PRODUCT, "quantity": quantity}],
            "payment_method": "cod",
        }
        return said | changes

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.staff.world.client.get(self._address(path), headers=named)

    async def check_out(self, said: Any = None, key: str | None = None, **headers: str) -> httpx2.Response:
        """Order; an empty key sends none."""
        wanted = self.staff.world.new_id() if key is None else key
        keyed = {"Idempotency-Key": wanted} if wanted else {}
        return await self.staff.world.client.post(
            self._address("checkout"),
            content=orjson.dumps(self.wish() if said is None else said),
            headers={"Content-Type": "application/json"} | keyed | headers,
        )

    async def call_off(self, code: str) -> httpx2.Response:
        return await self.staff.world.client.post(self._address(f"orders/track/{code}/cancel"))

    async def order(self, **changes: Any) -> dict[str, Any]:
        """What a good order is answered with."""
        answer = await self.check_out(self.wish(**changes))
        assert answer.status_code == 201, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def _address(self, path: str) -> str:
        return path if path.startswith("/") else f"/v1/towns/{self.town.id}/{path}"
