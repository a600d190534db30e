"""What the value of a setting must be; each raises ValueError, or gives the value as it is used from then on."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

TOKEN_CHARACTERS_MIN = 16
WEBHOOK_SECRETS_MAX = 4


def with_scheme(*schemes: str) -> AfterValidator:
    """A URL with one of these schemes; a port that is none is refused."""

    def check(value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in schemes:
            raise ValueError("scheme")
        _ = parts.port  # raises ValueError when it is not a number
        return value

    return AfterValidator(check)


def long_enough(value: SecretStr | None) -> SecretStr | None:
    """A secret that nobody guesses."""
    if value is not None and len(value.get_secret_value()) < TOKEN_CHARACTERS_MIN:
        raise ValueError("length")
    return value


def keys(value: SecretStr | None) -> SecretStr | None:
    """A few secrets with commas between them."""
    parts = value.get_secret_value().split(",") if value is not None else []
    if len(parts) > WEBHOOK_SECRETS_MAX or any(len(part.strip()) < TOKEN_CHARACTERS_MIN for part in parts):
        raise ValueError("keys")
    return value


def origin(value: str) -> str:
    """Where a server is, without a path or a slash at the end."""
    parts = urlsplit(value)
    extras = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in {"http", "https"} or not parts.hostname or extras:
        raise ValueError("origin")
    _ = parts.port
    return f"{parts.scheme}://{parts.netloc}"


def http_url(value: str | None) -> str | None:
    """A URL of the web."""
    if value is not None and (urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).hostname):
        raise ValueError("url")
    return value


def private_url(value: str | None) -> str | None:
    """TLS, or an address that does not leave this machine: nobody on the way reads along."""
    if http_url(value) is None:
        return None
    address = urlsplit(str(value))
    _ = address.port
    is_tls, host = address.scheme == "https", str(address.hostname)
    if not (is_tls or host == "localhost" or ip_address(host).is_loopback):  # any other name is a ValueError too
        raise ValueError("in clear")
    return value


def networks(value: str) -> str:
    """Addresses and networks with commas between them, none of which is everybody."""
    found = [ip_network(part.strip()) for part in value.split(",")] if value else []
    if any(network.prefixlen == 0 for network in found):
        raise ValueError("a network of everybody")
    return ",".join(str(network) for network in found)


def lower(value: object) -> object:
    """Without capitals."""
    return value.lower() if isinstance(value, str) else value
