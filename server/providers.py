"""The providers of payments and of text messages that the settings name; beside `bootstrap`, what names adapters."""

from __future__ import annotations

from server.adapters.payments.card import Card, CardAccount
from server.adapters.payments.momo import Momo, MomoAccount, Token
from server.adapters.redis.breaker import Breaker
from server.adapters.reminder_gateway import HttpGateway
from server.application.ports import System
from server.settings import Settings, SettingsInvalid

_MOMO_BREAKER, _CARD_BREAKER, _GATEWAY_BREAKER = Breaker(), Breaker(), Breaker()
_MOMO_TOKENS: dict[str, Token] = {}
"""Of this process: a worker opens its parts for every ring, and remembers from one to the next who is silent."""


def mobile_money(settings: Settings) -> Momo | None:
    """The provider of mobile money, if one is named; raises `SettingsInvalid` for half a name."""
    if settings.momo_base_url is None:
        return None
    secrets = (settings.momo_api_key, settings.momo_subscription_key)
    key, subscription = (secret.get_secret_value() if secret else "" for secret in secrets)
    if not (settings.momo_api_user and key and subscription):
        raise SettingsInvalid(
            "TALLYSTICK_MOMO_BASE_URL is set: expected TALLYSTICK_MOMO_API_USER, TALLYSTICK_MOMO_API_KEY and "
            "TALLYSTICK_MOMO_SUBSCRIPTION_KEY as well"
        )
    account = MomoAccount(
        base_url=settings.momo_base_url,
        api_user=settings.momo_api_user,
        api_key=key,
        subscription_key=subscription,
        environment=settings.momo_environment,
    )
    return Momo(account, breaker=_MOMO_BREAKER, tokens=_MOMO_TOKENS)


def cards(settings: Settings) -> Card | None:
    """The provider of cards, if one is named; raises as above."""
    if settings.card_base_url is None:
        return None
    if settings.card_api_key is None or not settings.webhook_keys:
        raise SettingsInvalid(
            "TALLYSTICK_CARD_BASE_URL is set: expected TALLYSTICK_CARD_API_KEY and TALLYSTICK_WEBHOOK_SECRETS as well"
        )
    account = CardAccount(base_url=settings.card_base_url, api_key=settings.card_api_key.get_secret_value())
    return Card(account, breaker=_CARD_BREAKER)


def reminder_gateway(settings: Settings, system: System) -> HttpGateway | None:
    """The gateway of text messages, if one is named; raises as above."""
    if settings.reminders_url is None:
        return None
    if not settings.reminder_keys:
        raise SettingsInvalid("TALLYSTICK_REMINDERS_URL is set: expected TALLYSTICK_REMINDERS_SECRETS as well")
    return HttpGateway(settings.reminders_url, settings.reminder_keys, system=system, breaker=_GATEWAY_BREAKER)
