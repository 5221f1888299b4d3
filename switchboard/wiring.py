"""The composition root: builds each service once per process from the settings. Nothing is built at import."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.mattermost import MattermostClient
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.errors import ConfigError
from switchboard.services import deliveries as ledger
from switchboard.services.audit import AuditLog
from switchboard.services.calendar import agendas as agenda_service
from switchboard.services.calendar import notices as notice_service
from switchboard.services.calendar import reminders as reminder_service
from switchboard.services.calendar.expansion import CalendarExpansion
from switchboard.services.channels.mattermost import MattermostChannel
from switchboard.services.files import DatabaseFileStore
from switchboard.services.keys import Keys
from switchboard.services.retention import Retention
from switchboard.settings import Settings, load_settings


def utc_now() -> datetime:
    """The clock of every service."""
    return datetime.now(UTC)


@cache
def settings() -> Settings:
    """The settings of this process."""
    return load_settings()


@cache
def database() -> Database:
    """The database of this process; `reset` drops it after a fork."""
    return Database(settings().effective_database_url, connections=settings().database_connections)


@cache
def secret_box() -> SecretBox:
    """Opens and seals secrets."""
    return SecretBox([key.get_secret_value() for key in settings().secret_keys])


@cache
def keys() -> Keys:
    """Checks and rotates the keys."""
    return Keys(database(), secret_box())


@cache
def mattermost() -> MattermostClient:
    """The Mattermost server, as our bot."""
    token = settings().mattermost_token
    if not settings().mattermost_url or token is None:
        raise ConfigError("Mattermost is not configured: set MATTERMOST_URL and MATTERMOST_TOKEN, or use the sandbox")
    return MattermostClient(settings().mattermost_url, token.get_secret_value())


@cache
def mattermost_channel() -> MattermostChannel:
    """Direct messages in Mattermost."""
    return MattermostChannel(mattermost())


@cache
def deliveries() -> ledger.Deliveries:
    """The delivery ledger with every channel and renderer."""
    channel = mattermost_channel()
    return ledger.Deliveries(
        database(),
        channels={channel.name: channel},
        renderers={
            agenda_service.KIND: agendas(),
            reminder_service.KIND: reminders(),
            notice_service.KIND: calendar_notices(),
        },
        clock=utc_now,
    )


@cache
def reminders() -> reminder_service.Reminders:
    """Reminders before meetings."""
    return reminder_service.Reminders(database(), utc_now)


@cache
def agendas() -> agenda_service.Agendas:
    """Daily agendas."""
    return agenda_service.Agendas(database(), utc_now)


@cache
def calendar_notices() -> notice_service.CalendarNotices:
    """Notices about calendar accounts."""
    return notice_service.CalendarNotices(database())


@cache
def calendar_expansion() -> CalendarExpansion:
    """Occurrences from stored calendar objects."""
    return CalendarExpansion(database(), utc_now)


@cache
def address_guard() -> AddressGuard:
    """Keeps users' URLs away from private networks."""
    return AddressGuard(allowed=settings().allowed_private_addresses)


@cache
def files() -> DatabaseFileStore:
    """The file store."""
    return DatabaseFileStore(database())


@cache
def audit_log() -> AuditLog:
    """Who did what."""
    return AuditLog(database())


@cache
def retention() -> Retention:
    """Erases what was kept long enough."""
    return Retention(database(), keep=timedelta(days=settings().retention_days))
