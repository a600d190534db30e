"""What an operator may set: environment variables and files named by them, checked once, at the start.

Nothing else in the server reads the environment: `load_settings` is given it and hands out one frozen value. The
descriptions here are the text of `docs/reference/settings.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from server.domain.rates import (
    ADDRESS_REQUESTS_PER_MINUTE,
    CHECKOUT_ADDRESS_REQUESTS_PER_MINUTE,
    CHECKOUT_TOWN_REQUESTS_PER_MINUTE,
    DEVICE_REQUESTS_PER_MINUTE,
    TOWN_REQUESTS_PER_MINUTE,
    Rates,
)
from server.setting_values import http_url, keys, long_enough, lower, networks, origin, private_url, with_scheme
from sync.kernel.errors import TallystickError

SECRET_CHARACTERS_MAX = 65_536
REQUESTS_PER_MINUTE_MAX = 1_000_000_000


class SettingsInvalid(TallystickError):
    """A setting is missing or wrong."""

    code = "settings_invalid"


class Settings(BaseSettings):
    """Every setting of the server; None means not set. Secrets do not show in `repr`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    database_url: Annotated[SecretStr | None, with_scheme("postgresql", "postgres")] = Field(
        default=None,
        alias="DATABASE_URL",
        description="The PostgreSQL 18 database, as a role that may create roles. Not set: an embedded one.",
        json_schema_extra={"expected": "a URL like postgresql://user:password@host:5432/tallystick"},
    )
    redis_url: Annotated[SecretStr | None, with_scheme("redis", "rediss", "unix")] = Field(
        default=None,
        alias="REDIS_URL",
        description="Redis for jobs and live hints; it holds nothing that is truth. Not set: an embedded one.",
        json_schema_extra={"expected": "a URL like redis://:password@host:6379/0"},
    )
    data_dir: Path = Field(
        default=Path(".tallystick"),
        alias="TALLYSTICK_DATA_DIR",
        description="Where embedded servers, keys and files live. Relative paths count from the working directory.",
        json_schema_extra={"expected": "the path of a directory"},
    )
    server_key_file: Path | None = Field(
        default=None,
        alias="TALLYSTICK_SERVER_KEY_FILE",
        description="The server's Ed25519 signing key. Not set: `server.key` in the data directory.",
        json_schema_extra={"expected": "the path of a file"},
    )
    blob_dir: Path | None = Field(
        default=None,
        alias="TALLYSTICK_BLOB_DIR",
        description="Where snapshots for first syncs are kept; all processes of the server share it. "
        "Not set: `blobs` in the data directory.",
        json_schema_extra={"expected": "the path of a directory"},
    )
    tombstone_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        default=90,
        alias="TALLYSTICK_TOMBSTONE_DAYS",
        description="How long the feed says which rows have gone. A device that was away for longer fetches the "
        "buckets concerned anew; it loses nothing.",
        json_schema_extra={"expected": "a whole number of days, 1 to 3650"},
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = Field(
        default="info",
        alias="TALLYSTICK_LOG_LEVEL",
        description="The least important lines that are logged.",
        json_schema_extra={"expected": "debug, info, warning or error"},
    )
    log_format: Annotated[Literal["json", "console"], BeforeValidator(lower)] = Field(
        default="json",
        alias="TALLYSTICK_LOG_FORMAT",
        description="One JSON object per line for machines, or coloured text for a person.",
        json_schema_extra={"expected": "json or console"},
    )
    public_url: Annotated[str, AfterValidator(origin)] = Field(
        default="http://127.0.0.1:8000",
        alias="TALLYSTICK_PUBLIC_URL",
        description="The address under which devices and browsers reach the server; tokens are made out to it.",
        json_schema_extra={"expected": "http:// or https://, a host, maybe a port, and no path"},
    )

    has_api_docs: Annotated[bool, BeforeValidator(lower)] = Field(
        default=False,
        alias="TALLYSTICK_API_DOCS",
        description="Whether the API describes itself: `/openapi.json`, and `/docs` for people.",
        json_schema_extra={"expected": "true or false"},
    )
    metrics_token: Annotated[SecretStr | None, AfterValidator(long_enough)] = Field(
        default=None,
        alias="TALLYSTICK_METRICS_TOKEN",
        description="The bearer token that opens `/metrics`. Not set: there is no such page; `up` makes one.",
        json_schema_extra={"expected": "at least 16 characters"},
    )
    otlp_endpoint: Annotated[str | None, AfterValidator(http_url)] = Field(
        default=None,
        alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="An OpenTelemetry collector that takes traces over OTLP/HTTP. Not set: nothing is traced.",
        json_schema_extra={"expected": "a URL like http://collector:4318"},
    )

    momo_base_url: Annotated[str | None, AfterValidator(http_url)] = Field(
        default=None,
        alias="TALLYSTICK_MOMO_BASE_URL",
        description="The provider of mobile money, in the shape of MTN MoMo; `tallystick sandbox` plays one. Not set: "
        "payments by mobile money wait.",
        json_schema_extra={"expected": "a URL like https://proxy.momoapi.mtn.com"},
    )
    momo_api_user: str | None = Field(
        default=None,
        alias="TALLYSTICK_MOMO_API_USER",
        description="Who this installation is at the provider.",
        json_schema_extra={"expected": "the id of an API user"},
    )
    momo_api_key: SecretStr | None = Field(
        default=None,
        alias="TALLYSTICK_MOMO_API_KEY",
        description="The API user's key.",
        json_schema_extra={"expected": "the key of the API user"},
    )
    momo_subscription_key: SecretStr | None = Field(
        default=None,
        alias="TALLYSTICK_MOMO_SUBSCRIPTION_KEY",
        description="The key of the subscription to collections and disbursements.",
        json_schema_extra={"expected": "a subscription key"},
    )
    momo_environment: str = Field(
        default="sandbox",
        alias="TALLYSTICK_MOMO_ENVIRONMENT",
        description="The provider's X-Target-Environment.",
        json_schema_extra={"expected": "the name of an environment, like mtnghana"},
    )

    card_base_url: Annotated[str | None, AfterValidator(http_url)] = Field(
        default=None,
        alias="TALLYSTICK_CARD_BASE_URL",
        description="The provider of cards; `tallystick sandbox` plays one. Not set: nobody pays by card online.",
        json_schema_extra={"expected": "a URL like https://api.cards.example"},
    )
    card_api_key: SecretStr | None = Field(
        default=None,
        alias="TALLYSTICK_CARD_API_KEY",
        description="Our key at the provider of cards.",
        json_schema_extra={"expected": "a secret key of the provider"},
    )
    card_return_url: Annotated[str | None, AfterValidator(http_url)] = Field(
        default=None,
        alias="TALLYSTICK_CARD_RETURN_URL",
        description="Where customers come back to from the page on which they paid by card. Not set: the public URL.",
        json_schema_extra={"expected": "a URL like https://shop.example/paid"},
    )
    webhook_secrets: Annotated[SecretStr | None, AfterValidator(keys)] = Field(
        default=None,
        alias="TALLYSTICK_WEBHOOK_SECRETS",
        description="What the provider of cards signs its webhooks with; while it is changed, the new one and the old.",
        json_schema_extra={"expected": "one to four secrets of at least 16 characters with commas between them"},
    )

    reminders_url: Annotated[str | None, AfterValidator(private_url)] = Field(
        default=None,
        alias="TALLYSTICK_REMINDERS_URL",
        description="The gateway that sends reminders as text messages; `tallystick sandbox` plays one. Not set: "
        "nothing is sent, reminders are rows that another program takes by `tallystick reminders list --json`.",
        json_schema_extra={
            "expected": "a URL like https://gateway.example/reminders; http:// only on this machine itself"
        },
    )
    reminders_secrets: Annotated[SecretStr | None, AfterValidator(keys)] = Field(
        default=None,
        alias="TALLYSTICK_REMINDERS_SECRETS",
        description="What reminders are signed with, so that the gateway knows them for ours: with each of these while "
        "they are changed.",
        json_schema_extra={"expected": "one to four secrets of at least 16 characters with commas between them"},
    )

    trusted_proxies: Annotated[str, AfterValidator(networks)] = Field(
        default="",
        alias="TALLYSTICK_TRUSTED_PROXIES",
        description="Reverse proxies of which `X-Forwarded-For` is believed; of everybody else it is ignored.",
        json_schema_extra={
            "expected": "addresses and networks of your proxies with commas between them, like 10.0.0.2,10.1.0.0/16. "
            "Not 0.0.0.0/0 or ::/0: then every caller could name any address as its own, and no limit would hold"
        },
    )
    device_requests_per_minute: Annotated[int, Field(ge=0, le=REQUESTS_PER_MINUTE_MAX)] = Field(
        default=DEVICE_REQUESTS_PER_MINUTE,
        alias="TALLYSTICK_DEVICE_REQUESTS_PER_MINUTE",
        description="What one device may ask; so many may also come at once. 0: no limit.",
        json_schema_extra={"expected": "a whole number, 0 or more"},
    )
    address_requests_per_minute: Annotated[int, Field(ge=0, le=REQUESTS_PER_MINUTE_MAX)] = Field(
        default=ADDRESS_REQUESTS_PER_MINUTE,
        alias="TALLYSTICK_ADDRESS_REQUESTS_PER_MINUTE",
        description="What one network address may ask; this machine's own are not counted. 0: no limit.",
        json_schema_extra={"expected": "a whole number, 0 or more"},
    )
    town_requests_per_minute: Annotated[int, Field(ge=0, le=REQUESTS_PER_MINUTE_MAX)] = Field(
        default=TOWN_REQUESTS_PER_MINUTE,
        alias="TALLYSTICK_TOWN_REQUESTS_PER_MINUTE",
        description="What the devices of one town may ask together. 0: no limit.",
        json_schema_extra={"expected": "a whole number, 0 or more"},
    )
    checkout_address_requests_per_minute: Annotated[int, Field(ge=0, le=REQUESTS_PER_MINUTE_MAX)] = Field(
        default=CHECKOUT_ADDRESS_REQUESTS_PER_MINUTE,
        alias="TALLYSTICK_CHECKOUT_ADDRESS_REQUESTS_PER_MINUTE",
        description="What one network address may order and call off in one town. 0: no limit.",
        json_schema_extra={"expected": "a whole number, 0 or more"},
    )
    checkout_town_requests_per_minute: Annotated[int, Field(ge=0, le=REQUESTS_PER_MINUTE_MAX)] = Field(
        default=CHECKOUT_TOWN_REQUESTS_PER_MINUTE,
        alias="TALLYSTICK_CHECKOUT_TOWN_REQUESTS_PER_MINUTE",
        description="What all customers may order and call off in one town. 0: no limit.",
        json_schema_extra={"expected": "a whole number, 0 or more"},
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in: the process's own environment must not leak into a test or a second server."""
        return (init_settings,)

    @property
    def rates(self) -> Rates:
        """How often who may ask."""
        return Rates(
            device_per_minute=self.device_requests_per_minute,
            address_per_minute=self.address_requests_per_minute,
            town_per_minute=self.town_requests_per_minute,
            checkout_address_per_minute=self.checkout_address_requests_per_minute,
            checkout_town_per_minute=self.checkout_town_requests_per_minute,
        )

    @property
    def proxies(self) -> tuple[str, ...]:
        """The networks whose word about addresses counts."""
        return tuple(self.trusted_proxies.split(",")) if self.trusted_proxies else ()

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """The secrets that webhooks may be signed with."""
        return _parts(self.webhook_secrets)

    @property
    def reminder_keys(self) -> tuple[bytes, ...]:
        """The secrets that reminders are signed with."""
        return _parts(self.reminders_secrets)

    @property
    def server_key_path(self) -> Path:
        """Where the signing key is, set or not."""
        return self.server_key_file or self.data_dir / "server.key"

    @property
    def blob_path(self) -> Path:
        """Where snapshots are kept, set or not."""
        return self.blob_dir or self.data_dir / "blobs"


def load_settings(environ: Mapping[str, str]) -> Settings:
    """The settings in `environ`; empty counts as not set, and a secret may be in the file that `<NAME>_FILE` names.

    Raises SettingsInvalid with one line: the first wrong variable and what is expected; never a secret's value.
    """
    values: dict[str, str] = {}
    for field in Settings.model_fields.values():
        value = _value_of(field, environ)
        if value:
            values[_name(field)] = value
    try:
        return Settings.model_validate(values)
    except ValidationError as fault:
        wrong = str(fault.errors()[0]["loc"][0])
        raise SettingsInvalid(_complaint(wrong, values[wrong])) from None


def settings_reference() -> str:
    """All settings as a Markdown table, in the order of the code."""
    lines = ["| variable | default | expected | meaning |", "|---|---|---|---|"]
    for field in Settings.model_fields.values():
        names = f"`{_name(field)}`" + (f" or `{_name(field)}_FILE`" if _is_secret(field) else "")
        default = "not set" if field.default is None else f"`{field.default}`"
        lines.append(f"| {names} | {default} | {_expected(field)} | {field.description} |")
    return "\n".join(lines) + "\n"


def _parts(secrets: SecretStr | None) -> tuple[bytes, ...]:
    text = secrets.get_secret_value() if secrets else ""
    return tuple(key.strip().encode() for key in text.split(",") if key)


def _value_of(field: FieldInfo, environ: Mapping[str, str]) -> str | None:
    name = _name(field)
    value, file_name = environ.get(name), environ.get(f"{name}_FILE")
    if not file_name or not _is_secret(field):
        return value
    if value:
        raise SettingsInvalid(f"{name} and {name}_FILE are both set: expected only one of them")
    try:
        with Path(file_name).open(encoding="utf-8") as file:
            text = file.read(SECRET_CHARACTERS_MAX).strip()
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "it is not UTF-8 text"
        raise SettingsInvalid(f"{name}_FILE is {file_name!r}: expected a file that can be read ({reason})") from fault
    if not text:
        raise SettingsInvalid(f"{name}_FILE is {file_name!r}: expected a file with {_expected(field)}, it is empty")
    return text


def _complaint(name: str, value: str) -> str:
    field = next(field for field in Settings.model_fields.values() if _name(field) == name)
    shown = "wrong" if _is_secret(field) else repr(value)
    return f"{name} is {shown}: expected {_expected(field)}"


def _name(field: FieldInfo) -> str:
    assert field.alias is not None
    return field.alias


def _expected(field: FieldInfo) -> str:
    extra: Any = field.json_schema_extra
    return str(extra["expected"])


def _is_secret(field: FieldInfo) -> bool:
    return field.annotation == SecretStr | None
