"""The doors for people: signing in, and below `/v1/towns/{town_id}` what the office reads and does."""

from __future__ import annotations

from server.api.office import (
    casework,
    devices,
    dispatches,
    drivers,
    events,
    lists,
    orders,
    products,
    quarantine,
    sessions,
    settings,
    statements,
    stock,
    users,
    warehouses,
)

OFFICE_ROUTERS = (
    sessions.router,
    orders.router,
    events.router,
    casework.router,
    lists.router,
    users.router,
    devices.router,
    warehouses.router,
    dispatches.router,
    drivers.router,
    products.router,
    quarantine.router,
    settings.router,
    statements.router,
    stock.router,
)
"""Every router for people. `orders` and `casework` are before `lists`: they have more to say about one row."""
