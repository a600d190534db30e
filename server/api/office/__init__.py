"""The doors for people: signing in, and below `/v1/towns/{town_id}` what the office reads and does."""

from __future__ import annotations

from server.api.office import (
    casework,
    devices,
    dispatches,
    drawers,
    drivers,
    events,
    invoices,
    lists,
    orders,
    papers,
    pay_outs,
    payments,
    products,
    quarantine,
    schools,
    sessions,
    settings,
    statements,
    stock,
    users,
    warehouses,
)

OFFICE_ROUTERS = (
    statements.router,
    sessions.router,
    orders.router,
    events.router,
    casework.router,
    invoices.router,
    payments.router,
    pay_outs.router,
    drawers.router,
    lists.router,
    users.router,
    devices.router,
    warehouses.router,
    dispatches.router,
    drivers.router,
    products.router,
    quarantine.router,
    schools.router,
    settings.router,
    papers.router,
    papers.of_town,
    stock.router,
)
"""Every router for people, in the order in which they are looked through: what has to be quick is first, and what is
before `lists` has more to say about one row.
"""
