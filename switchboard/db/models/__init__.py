"""Every table, one file per aggregate."""

from switchboard.db.models.answers import AnswerState, CalendarAnswer
from switchboard.db.models.base import Base
from switchboard.db.models.calendars import (
    Calendar,
    CalendarAccount,
    CalendarObject,
    CalendarOccurrence,
    CalendarReminder,
    CalendarSnapshot,
    CalendarSubscriber,
)
from switchboard.db.models.deliveries import OPEN_STATES, Delivery, DeliveryState
from switchboard.db.models.mattermost import MattermostCommand, MattermostInstallation
from switchboard.db.models.organisations import (
    DocumentDelivery,
    DocumentEvent,
    EventState,
    Mailing,
    NoticeTemplate,
    Organisation,
    OrganisationCredential,
    OrganisationTelegram,
    Recipient,
    TelegramStop,
)
from switchboard.db.models.statuses import CalendarStatus
from switchboard.db.models.telegram import (
    TelegramAccount,
    TelegramChat,
    TelegramGateway,
    TelegramMessage,
    TelegramPeer,
    TelegramShard,
    TelegramSignIn,
)
from switchboard.db.models.telegram_sending import TelegramMiss, TelegramSent, TelegramWait
from switchboard.db.models.upkeep import AuditEntry, DatabasePlace, FileChunk, Heartbeat, KeyCheck, StoredFile

__all__ = [
    "OPEN_STATES",
    "AnswerState",
    "AuditEntry",
    "Base",
    "Calendar",
    "CalendarAccount",
    "CalendarAnswer",
    "CalendarObject",
    "CalendarOccurrence",
    "CalendarReminder",
    "CalendarSnapshot",
    "CalendarStatus",
    "CalendarSubscriber",
    "DatabasePlace",
    "Delivery",
    "DeliveryState",
    "DocumentDelivery",
    "DocumentEvent",
    "EventState",
    "FileChunk",
    "Heartbeat",
    "KeyCheck",
    "Mailing",
    "MattermostCommand",
    "MattermostInstallation",
    "NoticeTemplate",
    "Organisation",
    "OrganisationCredential",
    "OrganisationTelegram",
    "Recipient",
    "StoredFile",
    "TelegramAccount",
    "TelegramChat",
    "TelegramGateway",
    "TelegramMessage",
    "TelegramMiss",
    "TelegramPeer",
    "TelegramSent",
    "TelegramShard",
    "TelegramSignIn",
    "TelegramStop",
    "TelegramWait",
]
