"""Lines out of bytes that come in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sync.kernel.errors import TallystickError


def whole_lines(
    chunks: Iterable[bytes], line_bytes_max: int, *, too_long: TallystickError, cut: TallystickError
) -> Iterator[bytes]:
    """The lines in `chunks`, without newlines. Raises `too_long` beyond the limit, `cut` when the last has no end."""
    rest = bytearray()
    for chunk in chunks:
        *whole, tail = chunk.split(b"\n")
        if whole:
            yield bytes(rest) + whole[0]
            yield from whole[1:]
            rest.clear()
        rest += tail
        if len(rest) > line_bytes_max:
            raise too_long
    if rest:
        raise cut
