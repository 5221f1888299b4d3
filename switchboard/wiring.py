"""The composition root: builds each service once per process from the settings. Nothing is built at import."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING

from redis import Redis
from sqlalchemy.exc import SQLAlchemyError

from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient
from switchboard.clients.host_limits import HostLimits
from switchboard.clients.mattermost import MattermostClient
from switchboard.clients.mattermost_admin import MattermostAdminClient
from switchboard.clients.redis import connect_redis
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.migrate import current_revision, head_revision
from switchboard.db.place import place_of
from switchboard.db.repositories.heartbeats import heartbeats
from switchboard.domain.telegram.advice import advice
from switchboard.domain.telegram.pacing import Limits
from switchboard.domain.telegram.sessions import Application
from switchboard.domain.telegram.sharding import SHARD_QUEUES
from switchboard.domain.telegram.states import AccountState, Reason
from switchboard.errors import ConfigError, NotFoundError, SwitchboardError
from switchboard.locks import LockFactory
from switchboard.queues import QUEUES
from switchboard.services import deliveries as ledger
from switchboard.services.audit import AuditLog
from switchboard.services.calendar import agendas as agenda_service
from switchboard.services.calendar import changes as change_service
from switchboard.services.calendar import notices as notice_service
from switchboard.services.calendar import reminders as reminder_service
from switchboard.services.calendar.accounts import AccountView, CalendarAccounts, Person
from switchboard.services.calendar.answering import Answering, Invitations
from switchboard.services.calendar.deactivations import Deactivations
from switchboard.services.calendar.expansion import CalendarExpansion
from switchboard.services.calendar.listings import Listings
from switchboard.services.calendar.polling import CalendarPolling
from switchboard.services.calendar.snoozing import ReminderMessages, Snoozing
from switchboard.services.calendar.statuses import Statuses
from switchboard.services.calendar.subscribers import Subscribers
from switchboard.services.channels.channel import Renderer
from switchboard.services.channels.mattermost import MattermostChannel
from switchboard.services.conversation.conversation import Conversation
from switchboard.services.conversation.desk import Desk
from switchboard.services.conversation.drawing import Drawing
from switchboard.services.conversation.errands import Errands
from switchboard.services.conversation.replies import Replies
from switchboard.services.conversation.speakers import Speakers
from switchboard.services.conversation.tickets import Tickets
from switchboard.services.doctor import Check, WarningFound
from switchboard.services.file_links import FileLinks
from switchboard.services.files import DatabaseFileStore
from switchboard.services.health import (
    DependencyFaultError,
    Health,
    Probe,
    database_probe,
    heartbeat_probe,
    redis_probe,
    schema_probe,
)
from switchboard.services.keys import Keys
from switchboard.services.mattermost_commands import RIGHTS, CommandInstaller, CommandTokens, Installed
from switchboard.services.operations import Operations
from switchboard.services.organisations import notices as document_notices
from switchboard.services.organisations.contacts import SERVICE_KIND, Contacts
from switchboard.services.organisations.credentials import Credentials
from switchboard.services.organisations.digests import Digests
from switchboard.services.organisations.events import Events
from switchboard.services.organisations.following import Following
from switchboard.services.organisations.hearing import Hearing
from switchboard.services.organisations.mailings import Mailings
from switchboard.services.organisations.organisations import WORKING, Organisations, OrganisationView
from switchboard.services.organisations.recipients import ANSWER_KIND, Recipients
from switchboard.services.organisations.stops import Stops
from switchboard.services.organisations.use_cases import OrganisationServices
from switchboard.services.organisations.wording import Wording
from switchboard.services.people import MattermostPeople
from switchboard.services.retention import Retention
from switchboard.services.telegram.accounts import AccountView as TelegramAccountView
from switchboard.services.telegram.accounts import TelegramAccounts
from switchboard.services.telegram.environment import Environment, EnvironmentAccounts
from switchboard.services.telegram.handling import InboxHandling
from switchboard.services.telegram.outbox_rows import OutboxRows
from switchboard.services.telegram.peers import Peers
from switchboard.services.telegram.records import Records
from switchboard.services.telegram.restores import Restores
from switchboard.services.telegram.shards import Leases, LeaseTimes
from switchboard.services.telegram.sign_in import SignIns
from switchboard.services.telegram.status import TelegramStatus
from switchboard.services.telegram.waits import WaitView, strangers_limit
from switchboard.settings import Settings, load_settings

if TYPE_CHECKING:  # Telethon costs 60 MiB, which only the process that holds accounts pays
    from switchboard.services.telegram.auth_key import AuthKey
    from switchboard.services.telegram.hosting import Host
    from switchboard.services.telegram.inbox import TelegramInbox
    from switchboard.services.telegram.session import Opener

TICK_EXPECTED_WITHIN = timedelta(seconds=60)


def utc_now() -> datetime:
    """The clock of every service."""
    return datetime.now(UTC)


@cache
def settings() -> Settings:
    """The settings of this process."""
    return load_settings()


@cache
def database() -> Database:
    """The database of this process; nothing opens it before a worker forks its children."""
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
    """Direct messages in Mattermost; without PUBLIC_URL nobody could call their buttons, and they have none."""
    return MattermostChannel(mattermost(), drawing() if settings().public_url else None)


@cache
def deliveries() -> ledger.Deliveries:
    """The delivery ledger with every channel that is configured; what goes over Telegram is sent by its gateway."""
    channels = [mattermost_channel()] if settings().mattermost_url else []
    return ledger.Deliveries(
        database(),
        channels={channel.name: channel for channel in channels},
        renderers=renderers(),
        clock=utc_now,
    )


@cache
def renderers() -> Mapping[str, Renderer]:
    """Who writes the messages of each kind, whatever channel they go over."""
    return {
        agenda_service.KIND: agendas(),
        reminder_service.KIND: reminders(),
        notice_service.KIND: calendar_notices(),
        change_service.KIND: changes(),
        SERVICE_KIND: organisation_contacts(),
        **dict.fromkeys(document_notices.KINDS, organisation_notices()),
    }


@cache
def organisations() -> OrganisationServices:
    """Organisations, their recipients and document events."""
    return OrganisationServices(
        Organisations(
            database(), secret_box(), telegram_accounts(), utc_now, support_contact=settings().support_contact
        ),
        Credentials(database(), secret_box(), utc_now),
        Recipients(database(), _PeopleAskedLate(), utc_now),
        Wording(database(), utc_now),
        document_events(),
        mailings(),
        organisation_notices(),
    )


@cache
def document_events() -> Events:
    """Document events."""
    return Events(database(), utc_now, telegram_limits(), telegram_works)


@cache
def mailings() -> Mailings:
    """What organisations tell their people regularly."""
    return Mailings(database(), document_events(), utc_now, telegram_limits(), telegram_works)


@cache
def organisation_notices() -> document_notices.Notices:
    """Messages of organisations."""
    return document_notices.Notices(database(), support_contact=settings().support_contact)


@cache
def organisation_contacts() -> Contacts:
    """Tells contacts how the Telegram of their organisation stands."""
    return Contacts(database(), telegram_accounts(), utc_now, support_contact=settings().support_contact)


@cache
def document_digests() -> Digests:
    """Messages about several documents."""
    return Digests(database(), utc_now, telegram_limits())


@cache
def document_following() -> Following:
    """What follows from the end of notices."""
    return Following(database(), utc_now)


def telegram_limits() -> Limits:
    """How fast a Telegram account may write."""
    return Limits(
        between_s=60 / settings().telegram_messages_per_minute,
        between_first_s=3600 / settings().telegram_first_contacts_per_hour,
    )


def telegram_works(account_id: int) -> bool:
    """Whether messages of a Telegram account go out."""
    try:
        return telegram_accounts().get(account_id).state in WORKING
    except NotFoundError:
        return False


@cache
def reminders() -> reminder_service.Reminders:
    """Reminders before meetings."""
    return reminder_service.Reminders(database(), utc_now)


@cache
def agendas() -> agenda_service.Agendas:
    """Daily agendas."""
    return agenda_service.Agendas(database(), utc_now)


@cache
def changes() -> change_service.Changes:
    """Change notices."""
    return change_service.Changes(database(), utc_now)


@cache
def statuses() -> Statuses:
    """Custom statuses during meetings."""
    return Statuses(database(), mattermost(), utc_now)


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
def locks() -> LockFactory:
    """Leases on Redis."""
    return LockFactory(redis_client())


@cache
def redis_client() -> Redis:
    """Redis or Valkey, with time-outs."""
    if not settings().redis_url:
        raise ConfigError(
            "REDIS_URL is not set and no embedded Valkey runs: start one with `python -m switchboard run`"
        )
    return connect_redis(settings().redis_url, self_signed=settings().redis_tls_self_signed)


@cache
def calendar_hosts() -> HostLimits:
    """The turns at calendar hosts, over all processes."""
    return HostLimits(redis_client(), requests_per_s=settings().calendar_host_requests_per_second)


def open_calendar_server(url: str, login: str, password: str) -> CaldavClient:
    """A connection to a calendar server, for one use."""
    gate = calendar_hosts() if settings().redis_url else None  # a command line may run alone
    return CaldavClient(url, login, password, guard=address_guard(), gate=gate)


@cache
def people() -> MattermostPeople:
    """The Mattermost users."""
    return MattermostPeople(mattermost())


class _PeopleAskedLate:
    """The same, connected at the first question: whoever looks after accounts needs no Mattermost server."""

    def find(self, username_or_id: str) -> Person | None:
        """See People."""
        return people().find(username_or_id)


@cache
def calendar_accounts() -> CalendarAccounts:
    """Calendar accounts and their owners' settings."""
    return CalendarAccounts(
        database(), open_calendar_server, secret_box(), _PeopleAskedLate(), address_guard(), utc_now
    )


@cache
def deactivations() -> Deactivations:
    """Follows who is deactivated in Mattermost."""
    return Deactivations(database(), people(), utc_now)


@cache
def calendar_polling() -> CalendarPolling:
    """Polls of calendar accounts."""
    return CalendarPolling(
        database(),
        open_calendar_server,
        secret_box(),
        calendar_notices(),
        utc_now,
        poll_period_s=settings().calendar_poll_seconds,
    )


@cache
def operations() -> Operations:
    """What operators see."""
    queues: dict[str, Sequence[str]] = {name: (name,) for name in QUEUES}
    return Operations(database(), redis_client(), queues={**queues, "telegram.shards": SHARD_QUEUES})


@cache
def health() -> Health:
    """Whether this deployment can work."""
    return Health(
        [
            database_probe(database()),
            schema_probe(database()),
            redis_probe(redis_client()),
            heartbeat_probe(
                database(), reminder_service.HEARTBEAT, within=TICK_EXPECTED_WITHIN, clock=utc_now, name="tick"
            ),
            Probe("telegram", _look_at_telegram, needed=False),
        ]
    )


@cache
def tickets() -> Tickets:
    """Signs buttons and dialogs."""
    return Tickets([key.get_secret_value() for key in settings().secret_keys])


@cache
def drawing() -> Drawing:
    """Draws answers for Mattermost."""
    return Drawing(tickets(), utc_now, public_url=settings().public_url)


@cache
def replies() -> Replies:
    """Sends answers that come later."""
    return Replies(mattermost(), mattermost_channel().open, drawing(), secret_box())


@cache
def subscribers() -> Subscribers:
    """What people have chosen."""
    return Subscribers(database())


@cache
def speakers() -> Speakers:
    """Who speaks."""
    return Speakers(calendar_accounts(), subscribers(), people())


@cache
def listings() -> Listings:
    """Meetings of several days."""
    return Listings(database(), utc_now)


@cache
def invitations() -> Invitations:
    """Clicks on the answers to invitations."""
    return Invitations(database(), utc_now)


@cache
def snoozing() -> Snoozing:
    """Clicks on the snooze of reminders."""
    return Snoozing(database(), utc_now)


@cache
def reminder_messages() -> ReminderMessages:
    """What was asked for, shown in the messages of reminders."""
    return ReminderMessages(database(), mattermost_channel(), utc_now)


@cache
def answering() -> Answering:
    """Answers to invitations, written and shown."""
    return Answering(database(), open_calendar_server, secret_box(), mattermost_channel(), locks(), utc_now)


@cache
def desk() -> Desk:
    """Answers commands, clicks and dialogs."""
    conversation = Conversation(
        calendar_accounts(),
        subscribers(),
        listings(),
        speakers(),
        invitations(),
        snoozing(),
        organisations().recipients,
        utc_now,
    )
    return Desk(conversation, tickets(), drawing(), replies(), mattermost(), utc_now)


@cache
def errands() -> Errands:
    """Slow work that people wait for."""
    return Errands(calendar_accounts(), calendar_polling(), speakers(), replies(), locks(), utc_now)


def command_installer(admin_token: str = "") -> CommandInstaller:
    """Installs the slash commands; with MATTERMOST_ADMIN_TOKEN where none is given."""
    token = settings().mattermost_admin_token
    admin_token = admin_token or (token.get_secret_value() if token is not None else "")
    if not settings().mattermost_url or not admin_token:
        raise ConfigError("set MATTERMOST_URL and MATTERMOST_ADMIN_TOKEN (a token of an administrator of that server)")
    return CommandInstaller(
        database(),
        MattermostAdminClient(settings().mattermost_url, admin_token),
        secret_box(),
        utc_now,
        public_url=settings().public_url,
    )


def install_commands(teams: Sequence[str], *, admin_token: str = "") -> Installed:
    """Install the slash commands in these teams, for the bot of MATTERMOST_TOKEN or a new one."""
    bot_user_id = mattermost().me().id if settings().mattermost_token is not None else None
    installed = command_installer(admin_token).install(teams, bot_user_id=bot_user_id)
    if settings().mattermost_token is not None:
        statuses().retry_refused()
    return installed


@dataclass(frozen=True, slots=True)
class WebServices:
    """What the routes use; see routes.services.Services."""

    health: Health
    operations: Operations
    audit_log: AuditLog
    files: DatabaseFileStore
    file_links: FileLinks
    command_tokens: CommandTokens
    tickets: Tickets
    telegram_accounts: TelegramAccounts
    telegram_sign_ins: SignIns
    organisations: OrganisationServices

    @property
    def desk(self) -> Desk:
        """Built at its first use: without a Mattermost server all else works."""
        return desk()

    def now(self) -> datetime:
        """The clock."""
        return utc_now()


def services() -> WebServices:
    """The container of the web process."""
    return WebServices(
        health=health(),
        operations=operations(),
        audit_log=audit_log(),
        files=files(),
        file_links=FileLinks([key.get_secret_value() for key in settings().secret_keys]),
        command_tokens=CommandTokens(database(), secret_box()),
        tickets=tickets(),
        telegram_accounts=telegram_accounts(),
        telegram_sign_ins=telegram_sign_ins(),
        organisations=organisations(),
    )


@cache
def telegram_application() -> Application | None:
    """The api_id and api_hash of accounts that have none of their own."""
    api_id, api_hash = settings().telegram_api_id, settings().telegram_api_hash
    return None if api_id is None or api_hash is None else Application(api_id, api_hash.get_secret_value())


@cache
def telegram_accounts() -> TelegramAccounts:
    """Telegram accounts, for operators."""
    return TelegramAccounts(
        database(),
        secret_box(),
        utc_now,
        application=telegram_application(),
        import_dir=settings().telegram_import_dir,
    )


@cache
def telegram_restores() -> Restores:
    """Knows a restored copy of the database."""
    return Restores(database(), utc_now, lambda: place_of(database()))


@cache
def telegram_sign_ins() -> SignIns:
    """Sign-ins of Telegram accounts."""
    return SignIns(database(), secret_box(), utc_now, telegram_accounts())


@cache
def telegram_status() -> TelegramStatus:
    """How Telegram stands."""
    return TelegramStatus(database(), utc_now, telegram_accounts(), lease_s=float(settings().telegram_lease_seconds))


def telegram_environment() -> Environment:
    """The accounts that variables define."""
    session, token = settings().telegram_string_session, settings().telegram_bot_token
    return Environment(
        database(),
        secret_box(),
        utc_now,
        EnvironmentAccounts(
            telegram_application(),
            session=session.get_secret_value() if session is not None else None,
            bot_token=token.get_secret_value() if token is not None else None,
        ),
    )


@cache
def telegram_opener() -> Opener:
    """Makes connections to Telegram, or to the data centre of the settings."""
    from switchboard.clients.telegram.connection import Connection  # noqa: PLC0415  see above
    from switchboard.clients.telegram.data_centre import own_data_centre  # noqa: PLC0415

    data_centre = own_data_centre(settings().telegram_dc_address, settings().telegram_dc_key)
    return lambda application, session, signing_in: Connection(application, session, data_centre, signing_in=signing_in)


@cache
def telegram_inbox() -> TelegramInbox:
    """Receives for this process's Telegram accounts."""
    from switchboard.services.telegram.inbox import TelegramInbox  # noqa: PLC0415  see above
    from switchboard.services.telegram.outbox_rows import mark_read  # noqa: PLC0415

    return TelegramInbox(database(), utc_now, mark_read=mark_read)


@cache
def telegram_handling() -> InboxHandling:
    """What becomes of received messages: a handler for each use of accounts."""
    return InboxHandling(database(), utc_now, {"organisations": Hearing(database(), organisations().recipients)})


@cache
def telegram_host() -> Host:
    """The host of this process's Telegram accounts; not started."""
    from switchboard.services.telegram.hosting import Host  # noqa: PLC0415  see above
    from switchboard.services.telegram.outbox import TelegramOutbox  # noqa: PLC0415

    stops = Stops(database(), except_kinds=(ANSWER_KIND, document_notices.EDIT_KIND))
    rows = OutboxRows(database(), renderers(), utc_now, stops.refusals)
    leases = Leases(
        database(),
        utc_now,
        owner=f"{os.getpid()}-{uuid.uuid4().hex[:12]}",
        host=platform.node(),
        times=LeaseTimes.of(float(settings().telegram_lease_seconds)),
    )
    return Host(
        leases,
        Records(database(), secret_box(), utc_now),
        telegram_opener(),
        inbox=telegram_inbox(),
        outbox=TelegramOutbox(rows, Peers(database(), utc_now), files(), utc_now, telegram_limits()),
        database_threads=settings().database_connections - 1,  # the leases never wait for the accounts
    )


def make_telegram_auth_key(
    phone: str,
    application: Application,
    *,
    ask_code: Callable[[str], str],
    ask_password: Callable[[str], str],
    tell: Callable[[str], None],
) -> AuthKey:
    """A new session string; nothing else here opens a session outside the gateway."""
    from switchboard.services.telegram.auth_key import make_auth_key  # noqa: PLC0415  see above

    return make_auth_key(telegram_opener(), application, phone, ask_code=ask_code, ask_password=ask_password, tell=tell)


def doctor_checks() -> list[Check]:
    """What `doctor` tries, in the order in which things depend on each other."""
    return [
        Check("database", _check_database, "Check DATABASE_URL, then run `python -m switchboard migrate`."),
        Check("secret keys", _check_keys, "Put every key that encrypted a stored secret into SECRET_KEYS."),
        Check("redis", _check_redis, "Check REDIS_URL; set maxmemory-policy to noeviction there."),
        Check(
            "worker and beat", _check_tick, "Start the processes `worker` and `beat`; look at their logs and at Flower."
        ),
        Check(
            "mattermost",
            _check_mattermost,
            "Set MATTERMOST_URL and MATTERMOST_TOKEN (a bot account's access token).",
            configured=bool(settings().mattermost_url),
        ),
        Check(
            "slash commands",
            _check_commands,
            "Run `python -m switchboard mattermost install TEAM` with PUBLIC_URL and MATTERMOST_ADMIN_TOKEN set.",
            configured=bool(settings().mattermost_url),
        ),
        Check(
            "custom statuses",
            _check_custom_statuses,
            "Run `python -m switchboard mattermost install TEAM` with MATTERMOST_ADMIN_TOKEN set; the server's switch is "
            "EnableCustomUserStatuses (System Console, Site Configuration, Users and Teams).",
            configured=bool(settings().mattermost_url),
        ),
        *(
            Check(
                f"calendar account {account.id} ({account.username})",
                partial(_check_calendar_account, account),
                f"A new password: `python -m switchboard calendar password {account.id}`.",
            )
            for account in _accounts_to_check()
        ),
        Check(
            "telegram gateway",
            _check_telegram_gateway,
            "Add an account (`python -m switchboard telegram add`); start the process `telegram` and look at its log.",
            configured=bool(_telegram_accounts_to_check()),
        ),
        *(
            Check(
                f"telegram account {account.id} ({account.own_name or account.kind})",
                partial(_check_telegram_account, account),
                advice(account.id, account.kind, account.origin, account.state, account.reason),
            )
            for account in _telegram_accounts_to_check()
        ),
        *(
            Check(
                f"telegram account {account.id}: strangers",
                partial(_check_strangers, limit),
                "Write to @SpamBot from this account. Once Telegram has lifted the limit: "
                f"`python -m switchboard telegram allow-strangers {account.id}`.",
            )
            for account in _telegram_accounts_to_check()
            if (limit := strangers_limit(account.waits)) is not None
        ),
        *(
            Check(
                f"telegram of {organisation.name}",
                partial(_check_organisation, organisation),
                f"`python -m switchboard organisations status {organisation.id}` says more.",
                configured=organisation.status.phone is not None,
            )
            for organisation in _organisations_to_check()
        ),
    ]


def _check_database() -> str:
    with database().read() as session:
        revision = current_revision(session.connection())
    if revision != head_revision():
        raise ConfigError(f"the schema is at {revision or 'no revision'}, this code needs {head_revision()}")
    return f"{database().dialect}, revision {revision}"


def _check_keys() -> str:
    keys().check()
    return f"all stored secrets open; {len(settings().secret_keys)} in the list"


def _check_redis() -> str:
    facts = redis_client().info("server")
    policy = redis_client().info("memory").get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise WarningFound(f"maxmemory-policy is {policy}: under memory pressure queued tasks would vanish")
    return f"{facts.get('server_name', 'redis')} {facts.get('valkey_version') or facts.get('redis_version')}"


def _check_tick() -> str:
    with database().read() as session:
        last = heartbeats(session).get(reminder_service.HEARTBEAT)
    if last is None:
        raise WarningFound("no reminder scan was ever run")
    age = utc_now() - last
    if age > TICK_EXPECTED_WITHIN:
        raise WarningFound(f"the last reminder scan was {int(age.total_seconds())} s ago")
    return f"the last reminder scan was {int(age.total_seconds())} s ago"


def _check_mattermost() -> str:
    mattermost().ping()
    bot = mattermost().me()
    if not bot.is_bot:
        raise WarningFound(f"the token belongs to @{bot.username}, who is no bot account")
    return f"the token belongs to the bot @{bot.username}"


def _check_commands() -> str:
    installed = len(CommandTokens(database(), secret_box()).accepted())
    if not installed:
        raise WarningFound("no slash command is installed: people cannot type any")
    return f"{installed} installed, called at {settings().public_url or 'no PUBLIC_URL'}"


def _check_custom_statuses() -> str:
    if not mattermost().custom_statuses_enabled():
        raise WarningFound("custom statuses are switched off at the server: nobody can be shown as in a meeting")
    missing = sorted(set(RIGHTS) - mattermost().own_permissions())
    if missing:
        raise WarningFound(f"the bot lacks the right {' and '.join(missing)}")
    return "switched on at the server; the bot may set them"


def _accounts_to_check() -> list[AccountView]:
    try:
        return calendar_accounts().list_accounts()
    except (SwitchboardError, SQLAlchemyError):
        return []  # the checks above say why


def _check_calendar_account(account: AccountView) -> str:
    if account.is_owner_deactivated:
        return "not asked: its owner is deactivated in Mattermost; it goes on by itself when they are back"
    found = calendar_accounts().refresh_calendars(account.id)
    return f"{len(found)} calendars, {sum(calendar.watched for calendar in found)} watched"


def _telegram_accounts_to_check() -> list[TelegramAccountView]:
    try:
        return telegram_accounts().list_accounts()
    except (SwitchboardError, SQLAlchemyError):
        return []  # the checks above say why


def _organisations_to_check() -> list[OrganisationView]:
    try:
        return organisations().organisations.list_all()
    except (SwitchboardError, SQLAlchemyError):
        return []  # the checks above say why


def _check_organisation(organisation: OrganisationView) -> str:
    status = organisation.status
    if not status.online:
        contact = f" Ask {status.support_contact}." if status.support_contact else ""
        raise WarningFound(f"{status.state}: {status.reason or 'messages wait.'}{contact}")
    return f"online with {status.phone}, {organisation.recipients} recipients"


def _look_at_telegram() -> str:
    facts = telegram_status().facts()
    wanted = sum(count for state, count in facts.accounts.items() if state != AccountState.STOPPED)
    if wanted and not facts.gateways:
        raise DependencyFaultError("no process holds the accounts: start `telegram`")
    return f"{len(facts.gateways)} gateways, {facts.accounts.get(AccountState.ONLINE, 0)} of {wanted} accounts online"


def _check_telegram_gateway() -> str:
    facts = telegram_status().facts()
    if not facts.gateways:
        raise WarningFound("no process holds the accounts")
    if facts.shards_held < facts.shards:
        raise WarningFound(f"{facts.shards - facts.shards_held} of {facts.shards} shards are in nobody's hands")
    return f"{len(facts.gateways)} running, {sum(gateway.accounts for gateway in facts.gateways)} accounts open"


def _check_telegram_account(account: TelegramAccountView) -> str:
    said = f"{account.state} since {account.since:%Y-%m-%d %H:%M} UTC"
    if account.reason_text:
        said = f"{said}: {account.reason_text}"
    if account.state in (AccountState.ONLINE, AccountState.STOPPED) and account.reason != Reason.RESTORED:
        return said
    raise WarningFound(said)


def _check_strangers(limit: WaitView) -> str:
    raise WarningFound(f"{limit.text} Since {limit.since:%Y-%m-%d %H:%M} UTC, until {limit.until:%Y-%m-%d %H:%M} UTC")


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
