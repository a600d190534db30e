"""The settings: a good environment is read whole, a bad one is named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from server.adapters.memory import MemorySystem
from server.providers import reminder_gateway
from server.settings import Settings, SettingsInvalid, load_settings, settings_reference

EVERY_VARIABLE = {
    "DATABASE_URL": "postgresql://someone:secret@db:5432/tallystick",
    "REDIS_URL": "redis://:secret@cache:6379/0",
    "TALLYSTICK_DATA_DIR": "/var/lib/tallystick",
    "TALLYSTICK_SERVER_KEY_FILE": "/etc/tallystick/key",
    "TALLYSTICK_LOG_LEVEL": "DEBUG",
    "TALLYSTICK_LOG_FORMAT": "console",
    "TALLYSTICK_PUBLIC_URL": "https://sync.example/",
    "TALLYSTICK_API_DOCS": "True",
    "TALLYSTICK_METRICS_TOKEN": "sixteen or more characters",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
    "TALLYSTICK_TRUSTED_PROXIES": "10.0.0.2, 10.1.0.0/16,2001:db8::/64",
    "TALLYSTICK_DEVICE_REQUESTS_PER_MINUTE": "60",
    "TALLYSTICK_ADDRESS_REQUESTS_PER_MINUTE": "0",
    "TALLYSTICK_TOWN_REQUESTS_PER_MINUTE": "600",
    "TALLYSTICK_CHECKOUT_ADDRESS_REQUESTS_PER_MINUTE": "6",
    "TALLYSTICK_CHECKOUT_TOWN_REQUESTS_PER_MINUTE": "0",
    "TALLYSTICK_BLOB_DIR": "/srv/blobs",
    "TALLYSTICK_TOMBSTONE_DAYS": "30",
    "TALLYSTICK_MOMO_BASE_URL": "https://proxy.momoapi.example",
    "TALLYSTICK_CARD_BASE_URL": "https://api.cards.example",
    "TALLYSTICK_CARD_API_KEY": "a key of the cards",
    "TALLYSTICK_CARD_RETURN_URL": "https://shop.example/paid",
    "TALLYSTICK_WEBHOOK_SECRETS": "a new secret of ours,an old secret of ours",
    "TALLYSTICK_MOMO_API_USER": "a user",
    "TALLYSTICK_MOMO_API_KEY": "a key",
    "TALLYSTICK_MOMO_SUBSCRIPTION_KEY": "another key",
    "TALLYSTICK_MOMO_ENVIRONMENT": "mtnghana",
    "TALLYSTICK_REMINDERS_URL": "https://gateway.example/reminders?as=us",
    "TALLYSTICK_REMINDERS_SECRETS": "a secret of the gateway",
}


def complaint_about(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(environ)
    return caught.value.message


def test_without_any_variable_the_defaults_hold() -> None:
    assert load_settings({}).model_dump() == {
        "database_url": None,
        "redis_url": None,
        "data_dir": Path(".tallystick"),
        "server_key_file": None,
        "log_level": "info",
        "log_format": "json",
        "public_url": "http://127.0.0.1:8000",
        "has_api_docs": False,
        "metrics_token": None,
        "otlp_endpoint": None,
        "trusted_proxies": "",
        "device_requests_per_minute": 300,
        "address_requests_per_minute": 6_000,
        "checkout_address_requests_per_minute": 60,
        "checkout_town_requests_per_minute": 600,
        "town_requests_per_minute": 12_000,
        "blob_dir": None,
        "tombstone_days": 90,
        "momo_base_url": None,
        "momo_api_user": None,
        "momo_api_key": None,
        "momo_subscription_key": None,
        "momo_environment": "sandbox",
        "card_base_url": None,
        "card_api_key": None,
        "card_return_url": None,
        "webhook_secrets": None,
        "reminders_url": None,
        "reminders_secrets": None,
    }


def test_every_variable_is_read() -> None:
    assert load_settings(EVERY_VARIABLE).model_dump() == {
        "database_url": SecretStr("postgresql://someone:secret@db:5432/tallystick"),
        "redis_url": SecretStr("redis://:secret@cache:6379/0"),
        "data_dir": Path("/var/lib/tallystick"),
        "server_key_file": Path("/etc/tallystick/key"),
        "log_level": "debug",
        "log_format": "console",
        "public_url": "https://sync.example",
        "has_api_docs": True,
        "metrics_token": SecretStr("sixteen or more characters"),
        "otlp_endpoint": "http://collector:4318",
        "trusted_proxies": "10.0.0.2/32,10.1.0.0/16,2001:db8::/64",
        "device_requests_per_minute": 60,
        "address_requests_per_minute": 0,
        "town_requests_per_minute": 600,
        "checkout_address_requests_per_minute": 6,
        "checkout_town_requests_per_minute": 0,
        "blob_dir": Path("/srv/blobs"),
        "tombstone_days": 30,
        "momo_base_url": "https://proxy.momoapi.example",
        "momo_api_user": "a user",
        "momo_api_key": SecretStr("a key"),
        "momo_subscription_key": SecretStr("another key"),
        "momo_environment": "mtnghana",
        "card_base_url": "https://api.cards.example",
        "card_api_key": SecretStr("a key of the cards"),
        "card_return_url": "https://shop.example/paid",
        "webhook_secrets": SecretStr("a new secret of ours,an old secret of ours"),
        "reminders_url": "https://gateway.example/reminders?as=us",
        "reminders_secrets": SecretStr("a secret of the gateway"),
    }


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({"DATABASE_URL": "", "TALLYSTICK_LOG_LEVEL": ""}) == load_settings({})


def test_the_environment_of_the_process_does_not_leak_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYSTICK_LOG_LEVEL", "error")
    assert load_settings({}).log_level == "info"


def test_settings_cannot_be_changed_later() -> None:
    settings = load_settings({})
    with pytest.raises(ValidationError, match="frozen"):
        settings.log_level = "debug"  # type: ignore[misc]


def test_the_server_key_is_in_the_data_directory_unless_said_otherwise() -> None:
    assert load_settings({"TALLYSTICK_DATA_DIR": "/data"}).server_key_path == Path("/data/server.key")
    assert load_settings({"TALLYSTICK_SERVER_KEY_FILE": "/keys/k"}).server_key_path == Path("/keys/k")


def test_snapshots_are_in_the_data_directory_unless_said_otherwise() -> None:
    assert load_settings({"TALLYSTICK_DATA_DIR": "/data"}).blob_path == Path("/data/blobs")
    assert load_settings({"TALLYSTICK_BLOB_DIR": "/srv/blobs"}).blob_path == Path("/srv/blobs")


def test_a_secret_can_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "database_url"
    file.write_text("postgresql://someone:secret@db/tallystick\n")
    settings = load_settings({"DATABASE_URL_FILE": str(file)})
    assert settings.database_url == SecretStr("postgresql://someone:secret@db/tallystick")


def test_a_secret_does_not_show_when_settings_are_printed() -> None:
    assert "hush" not in repr(load_settings({"DATABASE_URL": "postgresql://someone:hush@db/tallystick"}))


@pytest.mark.parametrize("value", ["0.0.0.0/0", "10.0.0.2, ::/0", "10.0.0.0/0", "::0/0"])
def test_a_proxy_that_could_be_anybody_stops_the_start_and_says_why(value: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"TALLYSTICK_TRUSTED_PROXIES is .*every caller could name any address"):
        load_settings({"TALLYSTICK_TRUSTED_PROXIES": value})


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("TALLYSTICK_LOG_FORMAT", "xml", "TALLYSTICK_LOG_FORMAT is 'xml': expected json or console"),
        ("TALLYSTICK_LOG_LEVEL", "loud", "TALLYSTICK_LOG_LEVEL is 'loud': expected debug, info, warning or error"),
        (
            "TALLYSTICK_PUBLIC_URL",
            "sync.example",
            "TALLYSTICK_PUBLIC_URL is 'sync.example': expected http:// or https://, a host, maybe a port, and no path",
        ),
        (
            "DATABASE_URL",
            "mysql://someone:hush@db/tallystick",
            "DATABASE_URL is wrong: expected a URL like postgresql://user:password@host:5432/tallystick",
        ),
        ("REDIS_URL", "localhost:6379", "REDIS_URL is wrong: expected a URL like redis://:password@host:6379/0"),
        ("TALLYSTICK_API_DOCS", "maybe", "TALLYSTICK_API_DOCS is 'maybe': expected true or false"),
        ("TALLYSTICK_METRICS_TOKEN", "short", "TALLYSTICK_METRICS_TOKEN is wrong: expected at least 16 characters"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "collector:4318",
            "OTEL_EXPORTER_OTLP_ENDPOINT is 'collector:4318': expected a URL like http://collector:4318",
        ),
        (
            "TALLYSTICK_TRUSTED_PROXIES",
            "*",
            (
                "TALLYSTICK_TRUSTED_PROXIES is '*': expected addresses and networks of your proxies with commas "
                "between them, like 10.0.0.2,10.1.0.0/16. Not 0.0.0.0/0 or ::/0: then every caller could name any "
                "address as its own, and no limit would hold"
            ),
        ),
        *(
            (
                "TALLYSTICK_WEBHOOK_SECRETS",
                value,
                (
                    "TALLYSTICK_WEBHOOK_SECRETS is wrong: expected one to four secrets of at least 16 characters with "
                    "commas between them"
                ),
            )
            for value in ("too short", "a secret of sixteen,", ",".join(["a secret of sixteen"] * 5))
        ),
        (
            "TALLYSTICK_DEVICE_REQUESTS_PER_MINUTE",
            "-1",
            "TALLYSTICK_DEVICE_REQUESTS_PER_MINUTE is '-1': expected a whole number, 0 or more",
        ),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it_and_what_is_expected(name: str, value: str, line: str) -> None:
    assert complaint_about({name: value}) == line


@pytest.mark.parametrize("port", ["http", "99999999"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    assert complaint_about({"DATABASE_URL": f"postgresql://u@db:{port}/t"}).startswith("DATABASE_URL is wrong")


@pytest.mark.parametrize("extra", ["/app", "?a=b", "#top"])
def test_a_public_url_is_an_origin_and_nothing_more(extra: str) -> None:
    assert "TALLYSTICK_PUBLIC_URL" in complaint_about({"TALLYSTICK_PUBLIC_URL": f"https://sync.example{extra}"})


def test_a_variable_and_its_file_are_not_both_accepted(tmp_path: Path) -> None:
    environ = {"REDIS_URL": "redis://a", "REDIS_URL_FILE": str(tmp_path / "redis_url")}
    assert complaint_about(environ) == "REDIS_URL and REDIS_URL_FILE are both set: expected only one of them"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert complaint_about({"DATABASE_URL_FILE": str(missing)}) == (
        f"DATABASE_URL_FILE is '{missing}': expected a file that can be read (No such file or directory)"
    )


def test_an_empty_secret_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    assert complaint_about({"REDIS_URL_FILE": str(tmp_path / "empty")}).endswith("it is empty")


def test_the_reference_has_a_row_with_a_description_for_every_setting() -> None:
    rows = settings_reference().splitlines()[2:]
    assert len(rows) == len(Settings.model_fields)
    assert all(
        field.alias is not None and f"| `{field.alias}`" in row and f"| {field.description} |" in row
        for row, field in zip(rows, Settings.model_fields.values(), strict=True)
    )


@pytest.mark.parametrize("host", ["gateway.example", "10.0.0.2", "127.0.0.1.gateway.example", "localhost.example"])
def test_a_gateway_is_not_reached_in_clear_unless_it_is_on_this_machine(host: str) -> None:
    assert "http:// only on this machine" in complaint_about({"TALLYSTICK_REMINDERS_URL": f"http://{host}/reminders"})


@pytest.mark.parametrize(
    "url", ["https://gateway.example", "http://127.0.0.1:8090/r", "http://[::1]/r", "http://localhost"]
)
def test_a_gateway_is_reached_by_tls_or_on_this_machine(url: str) -> None:
    assert load_settings({"TALLYSTICK_REMINDERS_URL": url}).reminders_url == url


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/r", "gateway.example", "https://", "http://", "https://gateway.example:99999999"]
)
def test_a_gateway_has_a_url_of_the_web(url: str) -> None:
    assert "TALLYSTICK_REMINDERS_URL is" in complaint_about({"TALLYSTICK_REMINDERS_URL": url})


def test_a_gateway_without_a_secret_stops_the_start() -> None:
    settings = load_settings({"TALLYSTICK_REMINDERS_URL": "https://gateway.example"})

    with pytest.raises(SettingsInvalid, match="expected TALLYSTICK_REMINDERS_SECRETS as well"):
        reminder_gateway(settings, MemorySystem())
