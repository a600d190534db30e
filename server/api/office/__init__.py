"""The doors for people: signing in, and below `/v1/towns/{town_id}` what the office reads and does."""

from __future__ import annotations

from server.api.office import devices, dispatches, lists, orders, sessions, users, warehouses

OFFICE_ROUTERS = (
    sessions.router,
    orders.router,
    lists.router,
    users.router,
    devices.router,
    warehouses.router,
    dispatches.router,
)
"""Every router for people. `orders` is before `lists`: it has more to say about one order."""
