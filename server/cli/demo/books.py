"""What the town's tables say, by plain SQL: the demo looks for itself and does not ask the code that it is to prove.

One connection as the database's superuser, who alone sees past row-level security. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row

Row = Mapping[str, Any]

DEVICE = "SELECT id::text FROM tallystick.devices WHERE town_id = %(town)s AND name = %(name)s"
COUNT = "SELECT count(*) AS sets FROM tallystick.change_sets WHERE town_id = %(town)s AND device_id = %(device)s"
CHANGE_SETS = """
    SELECT c.seq, c.line, c.status, c.verdict, coalesce(d.name, 'the office') AS device
    FROM tallystick.change_sets c LEFT JOIN tallystick.devices d ON (d.town_id, d.id) = (c.town_id, c.device_id)
    WHERE c.town_id = %(town)s ORDER BY c.version, d.name, c.seq
"""
ORDERS = """
    SELECT number, driver_id::text, lines, total_minor, paid_minor, credit_minor, commercial, custody, payment,
           status
    FROM tallystick.orders WHERE town_id = %(town)s ORDER BY number
"""
STOCK = """
    SELECT p.sku, p.name, l.on_hand, l.reserved, sum(m.on_hand_delta) AS moved
    FROM tallystick.stock_levels l
    JOIN tallystick.products p ON (p.town_id, p.id) = (l.town_id, l.product_id)
    JOIN tallystick.stock_movements m
      ON (m.town_id, m.warehouse_id, m.product_id) = (l.town_id, l.warehouse_id, l.product_id)
    WHERE l.town_id = %(town)s GROUP BY p.sku, p.name, l.on_hand, l.reserved ORDER BY p.sku
"""
PAYMENTS = """
    SELECT d.name AS device, o.number, p.amount_minor
    FROM tallystick.payments p
    JOIN tallystick.devices d ON (d.town_id, d.id) = (p.town_id, p.device_id)
    JOIN tallystick.orders o ON (o.town_id, o.id) = (p.town_id, p.order_id)
    WHERE p.town_id = %(town)s AND p.method <> 'momo' ORDER BY d.name, o.number
"""
CONFLICTS = """
    SELECT c.kind, c.rule, c.sentence, t.text AS task
    FROM tallystick.conflicts c
    LEFT JOIN tallystick.tasks t ON (t.town_id, t.conflict_id) = (c.town_id, c.id)
    WHERE c.town_id = %(town)s ORDER BY c.version, c.id
"""
MESSAGES = """
    SELECT b.data ->> 'text' AS asked, m.text, o.number
    FROM tallystick.outbox b
    LEFT JOIN tallystick.messages m ON (m.town_id, m.id) = (b.town_id, b.id)
    LEFT JOIN tallystick.orders o ON (o.town_id, o.id::text) = (b.town_id, b.data ->> 'order')
    WHERE b.town_id = %(town)s AND b.kind = 'customer.notify' ORDER BY b.version, b.id
"""
SETTLEMENT = """
    SELECT status, amount_minor FROM tallystick.settlements WHERE town_id = %(town)s AND id = %(payment)s
"""
REFUND = "SELECT state FROM tallystick.refunds WHERE town_id = %(town)s AND id = %(refund)s"
REPORTS = """
    SELECT d.name AS device, r.number, r.opening, r.expected, r.counted, r.differences
    FROM tallystick.drawer_reports r JOIN tallystick.devices d ON (d.town_id, d.id) = (r.town_id, r.device_id)
    WHERE r.town_id = %(town)s ORDER BY r.version, r.id
"""
ENTRIES = """
    SELECT device_id::text, seq, currency, split_part(account, ':', 1) AS kind, account, debit_minor, credit_minor
    FROM tallystick.journal_entries WHERE town_id = %(town)s
"""
INVOICES = """
    SELECT i.id::text, i.total_minor, i.paid_minor, i.remaining_minor, i.currency, i.state,
        coalesce((SELECT sum(a.amount_minor) FROM tallystick.allocations a
                  WHERE (a.town_id, a.invoice_id) = (i.town_id, i.id)), 0)::bigint AS allocated_minor
    FROM tallystick.invoices i WHERE i.town_id = %(town)s
"""
CREDITS = "SELECT party_id::text, left_minor FROM tallystick.credits WHERE town_id = %(town)s"
UNDONE = "SELECT count(*) AS open FROM tallystick.outbox WHERE town_id = %(town)s AND done_at IS NULL"
FEED = """
    SELECT bucket, entity, id::text, version, body FROM tallystick.feed WHERE town_id = %(town)s AND body IS NOT NULL
"""
BUCKETS = "SELECT bucket, rows, total FROM tallystick.buckets WHERE town_id = %(town)s"
JOURNAL = "SELECT version, body, hash FROM tallystick.journal WHERE town_id = %(town)s ORDER BY version"
HEAD = "SELECT version, journal_hash FROM tallystick.town_heads WHERE town_id = %(town)s"
VERSION = "SELECT current_setting('server_version') AS version"


class Books:
    """The tables of one town; close it, or use it in a `with` block."""

    def __init__(self, database_url: str, town_id: str) -> None:
        self._connection = psycopg.connect(database_url, autocommit=True, row_factory=dict_row)
        self._town_id = town_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def rows(self, sql: str, **parameters: str) -> Sequence[Row]:
        """The rows of one of the statements above; `town` is filled in."""
        return self._connection.execute(sql.encode(), {"town": self._town_id, **parameters}).fetchall()

    def one(self, sql: str, **parameters: str) -> Row:
        """The only row of one of the statements above."""
        [row] = self.rows(sql, **parameters)
        return row

    def change_sets_of(self, device_name: str) -> int:
        """How many change sets of this device the journal's table holds."""
        return int(self.one(COUNT, device=self.one(DEVICE, name=device_name)["id"])["sets"])
