"""Every limit of the wire, by name. Both sides keep them; a test holds each. Source: `docs/reference/protocol.md`."""

from __future__ import annotations

LINE_BYTES_MAX = 64 * 1024
"""One change set, written out."""

OPERATIONS_MAX = 100
"""Operations in one change set."""

CHANGE_SETS_MAX = 1_000
"""Change sets in one exchange."""

EXCHANGE_OPERATIONS_MAX = 20_000
"""Operations in one exchange; more than fit into a body that is sent uncompressed."""

BODY_WIRE_BYTES_MAX = 1024 * 1024
"""A request body as it arrives, compressed or not."""

BODY_BYTES_MAX = 8 * 1024 * 1024
"""A request body after inflating, checked while inflating."""

STRING_BYTES_MAX = 4 * 1024
"""One string value, in UTF-8."""

DEPTH_MAX = 16
"""How deep arrays and objects may nest."""

BUCKETS_MAX = 64
"""Buckets that one device may hold."""

TOLD_MAX = 200
"""Earlier verdicts in one hello, and so change sets in one exchange that sends answered ones again."""

CURRENCIES_MAX = 200
"""Currencies in the totals of one device; more than there are."""

BODY_IDLE_SECONDS = 10
"""A body that makes no progress for this long is closed."""

INTEGER_MAX = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 8259, section 6)."""

PAGE_ROWS = 10_000
"""Feed rows in one page of an answer; a page ends at a version, so it may hold some more."""

PAGE_BYTES = 8 * 1024 * 1024
"""Bytes of rows in one page of an answer, after which it ends with the version it is in."""

ROWS_LINE_ROWS = 1_000
"""Feed rows in one line of an answer."""

ROWS_LINE_BYTES = 1024 * 1024
"""Bytes of rows in one line of an answer, after which it ends with the row it is in."""

SERVER_KEYS_MAX = 100
"""Signing keys that one installation ever had; each rotation adds one."""

RESCUE_BYTES_MAX = 256 * 1024 * 1024
"""The lines of one rescue file, inflated; a device that never reported for years stays below it."""

SEALED_BYTES_MAX = 2 * 1024 * 1024
"""One sealed upload of a revoked device, as it is sent."""

SEALED_LINES_BYTES = 1024 * 1024
"""Lines in one sealed upload, in bytes before compression; a device with more unsent sends several."""

SEALED_UPLOADS_MAX = 64
"""Sealed uploads that are kept of one device."""

SEALED_KEPT_BYTES_MAX = 80 * 1024 * 1024
"""All sealed uploads that are kept of one device: as many as may be, each with as many lines as may be, and room."""

SNAPSHOT_BYTES_MAX = 1024 * 1024 * 1024
"""The file of one bucket's snapshot."""
