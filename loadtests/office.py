"""Somebody at a desk: signs in with an account and does the office's work over HTTP, as a browser would."""

from __future__ import annotations

import time
import uuid
from types import TracebackType
from typing import Any, Self

import httpx2

TRIES_MAX = 20
TIMEOUT_SECONDS = 60.0
REPEATABLE = frozenset({429, 503, 504})


class Refused(Exception):
    """The town refuses; `code` is the rule."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class Desk:
    """One session. Whatever it asks for is asked again under the same key until it is answered."""

    def __init__(self, url: str, email: str, password: str) -> None:
        self.url = url
        self._http = httpx2.Client(base_url=url, timeout=TIMEOUT_SECONDS)
        session = self._must("POST", "/v1/sessions", {"email": email, "password": password})
        self._http.headers["X-CSRF-Token"] = session["csrf_token"]
        self.towns = [str(town["id"]) for town in session["towns"]]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def warehouse(self, town: str) -> str:
        """The town's first warehouse."""
        return str(self._must("GET", f"/v1/towns/{town}/warehouses")["items"][0]["id"])

    def add_user(self, town: str, name: str, role: str) -> str:
        """A person who works there."""
        said = {"name": name, "login": name.lower().replace(" ", "."), "roles": [role]}
        return str(self._must("POST", f"/v1/towns/{town}/users", said)["id"])

    def code(self, town: str, role: str, **whose: str) -> str:
        """A code for one device: `user` for a driver's, `warehouse` for a tablet."""
        return str(self._must("POST", f"/v1/towns/{town}/enrolments", {"role": role, **whose})["code"])

    def assign(self, town: str, order: str, driver: str) -> None:
        """Give an order to a driver. Raises `Refused`."""
        self._must("POST", f"/v1/towns/{town}/orders/{order}/assign", {"driver": driver})

    def cancel(self, town: str, order: str) -> None:
        """The order shall not be. Raises `Refused`."""
        self._must("POST", f"/v1/towns/{town}/orders/{order}/cancel", {"reason": "the customer sent it back"})

    def _must(self, method: str, path: str, said: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        for _ in range(TRIES_MAX):
            answer = self._http.request(method, path, json=said, headers=headers)
            if answer.status_code not in REPEATABLE:
                break
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        document: dict[str, Any] = answer.json()
        if answer.is_error:
            raise Refused(str(document.get("code")), str(document.get("detail")))
        return document
