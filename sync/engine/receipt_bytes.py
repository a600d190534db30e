"""The bytes of a receipt code and their letters; what they mean is in `sync.engine.receipts`.

Whole numbers without a size are LEB128, everything else is big-endian. The letters are those of a QR code's
alphanumeric mode that need no escape in the path of a URL (RFC 3986): 41 of them, three for two bytes, which is as
dense as Base45 (RFC 9285). Every value has exactly one way to be written.
"""

from __future__ import annotations

from sync.kernel.clock import format_time
from sync.kernel.errors import Malformed
from sync.kernel.ids import parse_id
from sync.kernel.money import minor_digits

CODE_LETTERS_MAX = 2_000
"""No code is longer; the usual one has about 400 letters."""

ID_BYTES, TIME_BYTES, CURRENCY_BYTES = 16, 6, 2

_WHOLE_BYTES_MAX = 9
_MORE = 0x80
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ$*-.:"
_VALUES = {letter: value for value, letter in enumerate(_LETTERS)}
_BASE = len(_LETTERS)


class ReceiptUnreadable(Malformed):
    """This is no receipt code, or a part of it is missing; read the QR code again."""

    code = "receipt_unreadable"


class Reader:
    """Takes a code's bytes apart; every fault is `ReceiptUnreadable`."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.at = 0

    def take(self, size: int) -> bytes:
        """The next bytes."""
        taken = self._raw[self.at : self.at + size]
        if len(taken) != size:
            raise ReceiptUnreadable
        self.at += size
        return taken

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def id(self) -> str:
        """A UUID."""
        digits = self.take(ID_BYTES).hex()
        try:
            return parse_id("-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])))
        except Malformed:
            raise ReceiptUnreadable from None

    def whole(self) -> int:
        """An LEB128 number in its shortest form."""
        value = 0
        for place in range(_WHOLE_BYTES_MAX):
            byte = self.byte()
            value |= (byte & (_MORE - 1)) << (7 * place)
            if byte < _MORE:
                if byte == 0 and place:
                    raise ReceiptUnreadable
                return value
        raise ReceiptUnreadable

    def time(self) -> str:
        """A time in milliseconds."""
        try:
            return format_time(int.from_bytes(self.take(TIME_BYTES)))
        except Malformed:
            raise ReceiptUnreadable from None

    def currency(self) -> str:
        """Three letters in 15 bits."""
        packed = int.from_bytes(self.take(CURRENCY_BYTES))
        currency = "".join(chr(ord("A") + (packed >> shift & 31)) for shift in (10, 5, 0))
        try:
            minor_digits(currency)
        except Malformed:
            raise ReceiptUnreadable from None
        return currency

    def end(self) -> None:
        """Nothing may follow."""
        if self.at != len(self._raw):
            raise ReceiptUnreadable


def whole(number: int) -> bytes:
    """A number as LEB128."""
    assert 0 <= number < 1 << (7 * _WHOLE_BYTES_MAX), number
    written = bytearray()
    while number >= _MORE:
        written.append(number & (_MORE - 1) | _MORE)
        number >>= 7
    written.append(number)
    return bytes(written)


def currency_bytes(currency: str) -> bytes:
    """Three letters in 15 bits."""
    first, second, third = (ord(letter) - ord("A") for letter in currency)
    return (first << 10 | second << 5 | third).to_bytes(CURRENCY_BYTES)


def id_bytes(text: str) -> bytes:
    """A UUID as its 16 bytes; raise `InvalidId`."""
    return bytes.fromhex(parse_id(text).replace("-", ""))


def to_letters(raw: bytes) -> str:
    """The code of these bytes."""
    return "".join(_group(raw[at : at + 2]) for at in range(0, len(raw), 2))


def _group(raw: bytes) -> str:
    value, letters = int.from_bytes(raw), ""
    for _ in range(len(raw) + 1):
        value, digit = divmod(value, _BASE)
        letters += _LETTERS[digit]
    return letters


def from_letters(code: str) -> bytes:
    """The bytes of a code; raise `ReceiptUnreadable`."""
    if not code or len(code) > CODE_LETTERS_MAX:
        raise ReceiptUnreadable
    return b"".join(_ungroup(code[at : at + 3]) for at in range(0, len(code), 3))


def _ungroup(letters: str) -> bytes:
    size = len(letters) - 1
    try:
        value = 0
        for letter in reversed(letters):
            value = value * _BASE + _VALUES[letter]
        raw = value.to_bytes(size)
    except (KeyError, OverflowError):
        raise ReceiptUnreadable from None
    if not raw:
        raise ReceiptUnreadable
    return raw
