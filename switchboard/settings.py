"""Settings from the environment (and a `.env` file beside the checkout), read once at the start of a process.

Nothing reads them at import. Every problem is reported at once, in words. `.env.example` lists the same names; a test
compares the two.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from switchboard.errors import ConfigError

if sys.platform != "win32":
    import fcntl

MIN_SECRET_LENGTH = 32
FEWEST_BASE_USERS = 2


class Settings(BaseSettings):
    """All settings of a deployment. Times are seconds, sizes are bytes, as the names say."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    data_dir: Path = Field(
        default=Path("data"), description="folder of the embedded database, Valkey and generated secrets"
    )
    database_url: str = Field(default="", description="PostgreSQL; empty: SQLite in DATA_DIR")
    redis_url: str = Field(default="", description="Redis 7 or Valkey 8 and newer; empty: embedded Valkey in DATA_DIR")
    redis_tls_self_signed: bool = Field(
        default=False, description="accept a self-signed certificate of a rediss:// server"
    )
    database_connections: int = Field(
        default=4,
        ge=2,
        le=500,
        description="connections to PostgreSQL that one process may hold; web, worker, expander and telegram have four times "
        "as many together, a command adds its own, so 4 stays within 20",
    )
    public_url: str = Field(
        default="", description="our address as remotes see it, for example https://hub.example.org"
    )
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description="comma list, newest first, each at least 32 characters; encrypts secrets at rest"
    )
    admin_token: SecretStr | None = Field(
        default=None, description="bearer token of the administration routes and of /metrics"
    )

    host: str = Field(
        default="127.0.0.1", description="address the web process listens on; 0.0.0.0 on a host that routes to it"
    )
    port: int = Field(default=8000, ge=0, le=65535, description="port of the web process")
    web_threads: int = Field(default=8, ge=1, le=128, description="threads of a web process")
    max_body_bytes: int = Field(default=1_048_576, ge=1024, description="largest request body accepted")
    body_read_seconds: float = Field(default=10.0, gt=0, description="time a client has to send its whole request body")
    worker_threads: int = Field(default=12, ge=1, le=256, description="threads of the worker process")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="least level of the log lines that are written"
    )
    log_format: Literal["auto", "json", "pretty"] = Field(
        default="auto", description="auto: pretty on a terminal, else JSON"
    )

    flower_user: str = Field(default="operator", min_length=1, description="name that opens Flower")
    flower_password: SecretStr | None = Field(
        default=None, description="password that opens Flower; embedded mode makes one"
    )
    flower_port: int = Field(
        default=5555, ge=0, le=65535, description="port of Flower on loopback; as an app of its own it listens at PORT"
    )
    flower_writable: bool = Field(
        default=False, description="let whoever opens Flower also control workers and run tasks"
    )
    flower_url: str = Field(default="", description="where operators find Flower, for links")
    flower_max_tasks: int = Field(default=5_000, ge=100, description="tasks that Flower remembers, about 8 KiB each")

    mattermost_url: str = Field(default="", description="address of the Mattermost server; empty: the sandbox's twin")
    mattermost_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("MATTERMOST_TOKEN", "MM_APP_TOKEN"),
        description="access token of the bot account",
    )
    mattermost_admin_token: SecretStr | None = Field(
        default=None,
        description="access token of a Mattermost administrator; read by `mattermost install` and `uninstall` alone",
    )
    telegram_api_id: int | None = Field(
        default=None, ge=1, le=2_147_483_647, description="api_id of my.telegram.org; accounts without their own use it"
    )
    telegram_api_hash: SecretStr | None = Field(
        default=None, description="the api_hash that belongs to TELEGRAM_API_ID"
    )
    telegram_string_session: SecretStr | None = Field(
        default=None,
        description="session of a Telegram account that is looked after here alone; `telegram auth-key` prints one",
    )
    telegram_base_users: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="comma list of ids, @names or phones that are in every chat, at least 2; needed with the string session",
    )
    telegram_bot_token: SecretStr | None = Field(
        default=None, description="token of a bot that is looked after here alone, from @BotFather"
    )
    telegram_lease_seconds: int = Field(
        default=20,
        ge=4,
        le=300,
        description="time after which the accounts of a dead `telegram` process are taken over",
    )
    telegram_dc_address: str = Field(
        default="", description="host:port of a data centre of your own for tests; empty: Telegram's"
    )
    telegram_dc_key: Path | None = Field(
        default=None, description="file with the RSA key (PEM) of that data centre; empty: Telegram's keys"
    )
    telegram_messages_per_minute: int = Field(
        default=60,
        ge=1,
        le=60_000,  # paid broadcasts of a bot: https://core.telegram.org/bots/faq#how-can-i-message-all-of-my-bot-39s-subscribers-at-once
        description="messages that one Telegram account sends to people it wrote to before",
    )
    telegram_first_contacts_per_hour: int = Field(
        default=30,
        ge=1,
        le=3_600,
        description="people whom one Telegram account writes to for the first time; more, and Telegram limits the account",
    )
    support_contact: str = Field(
        default="",
        max_length=200,
        description="whom people ask when notices do not come, shown to them: an address, a phone, a name",
    )
    calendar_poll_seconds: int = Field(
        default=120, ge=15, le=86_400, description="time between two polls of an account"
    )
    calendar_host_requests_per_second: int = Field(
        default=25,
        ge=0,
        le=10_000,
        description="requests that all workers together send to one calendar host in a second; 0: no limit. 1,000 accounts "
        "of one host with two calendars each make 17 at a poll each 120 s",
    )
    retention_days: int = Field(default=90, ge=1, description="days after which message texts and files are erased")
    allowed_private_addresses: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="comma list of host:port that users' URLs may reach although they are private"
    )

    @field_validator("secret_keys", "allowed_private_addresses", "telegram_base_users", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("secret_keys")
    @classmethod
    def _long_enough(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < MIN_SECRET_LENGTH for key in keys):
            raise ValueError(f"each key needs at least {MIN_SECRET_LENGTH} characters")
        return keys

    @field_validator("admin_token")
    @classmethod
    def _guessable_token(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and len(token.get_secret_value()) < MIN_SECRET_LENGTH:
            raise ValueError(f"needs at least {MIN_SECRET_LENGTH} characters")
        return token

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, url: str) -> str:
        scheme, separator, rest = url.partition("://")
        if not url:
            return url
        if scheme in ("postgres", "postgresql", "postgresql+psycopg") and separator:
            return f"postgresql+psycopg://{rest}"
        if scheme == "sqlite" and separator:
            return url
        raise ValueError("must begin with postgresql:// (or postgres://), or sqlite:// for a file")

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: str) -> str:
        if url and urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise ValueError("must begin with redis:// or rediss://")
        return url

    @field_validator("mattermost_url", "public_url", "flower_url")
    @classmethod
    def _http(cls, url: str) -> str:
        if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            raise ValueError("must be a whole address that begins with https:// (or http://)")
        if url and not _has_usable_port(url):
            raise ValueError("names a port that is none")
        return url.rstrip("/")

    @field_validator("allowed_private_addresses")
    @classmethod
    def _host_and_port(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            host, _, port = address.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65_536:
                raise ValueError(f"{address!r} is not host:port")
        return addresses

    @field_validator("telegram_dc_address")
    @classmethod
    def _one_host_and_port(cls, address: str) -> str:
        return cls._host_and_port((address,))[0] if address else address

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        problems = []
        if self.database_url.startswith("postgresql") and not self.secret_keys:
            problems.append("SECRET_KEYS must be set once DATABASE_URL is: lost keys are lost secrets")
        if self.mattermost_url and self.mattermost_token is None and self.mattermost_admin_token is None:
            problems.append("MATTERMOST_TOKEN must be set once MATTERMOST_URL is (`mattermost install` makes one)")
        problems.extend(self._telegram_problems())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _telegram_problems(self) -> list[str]:
        problems = []
        pair = "TELEGRAM_API_ID and TELEGRAM_API_HASH"
        if (self.telegram_api_id is None) != (self.telegram_api_hash is None):
            problems.append(f"{pair} belong together: set both or neither")
        if self.telegram_api_id is None:
            needing = ("telegram_string_session", "telegram_bot_token")
            problems += [f"{name.upper()} needs {pair}" for name in needing if getattr(self, name) is not None]
        if self.telegram_string_session is not None and len(set(self.telegram_base_users)) < FEWEST_BASE_USERS:
            problems.append(
                f"TELEGRAM_BASE_USERS must name at least {FEWEST_BASE_USERS} people once TELEGRAM_STRING_SESSION is set"
            )
        if bool(self.telegram_dc_address) != (self.telegram_dc_key is not None):
            problems.append("TELEGRAM_DC_ADDRESS and TELEGRAM_DC_KEY belong together: set both or neither")
        return problems

    @property
    def telegram_import_dir(self) -> Path:
        """The only folder from which session files are imported."""
        return self.data_dir / "telegram-import"

    @property
    def sqlite_path(self) -> Path:
        """The embedded database's file."""
        return self.data_dir / "switchboard.sqlite3"

    @property
    def effective_database_url(self) -> str:
        """A SQLAlchemy URL: DATABASE_URL, or SQLite in the data folder."""
        return self.database_url or f"sqlite:///{self.sqlite_path}"


def environment_names() -> dict[str, str]:
    """Every environment variable that is read, with its description (aliases included)."""
    names: dict[str, str] = {}
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        choices = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name.upper()]
        for choice in choices:
            names[choice] = field.description or ""
    return names


def load_settings() -> Settings:
    """Read the settings; raise ConfigError that lists every problem, one a line.

    What a `make run` of the same data folder chose by itself (ports, the embedded Valkey, the sandbox's twins) fills
    the settings that are empty, so that a command in another terminal reaches the same servers. The embedded database's
    own keys are found even when nothing runs.
    """
    try:
        settings = Settings()
        chosen: dict[str, Any] = dict(running_settings(settings.data_dir))
        if not settings.database_url:
            chosen.setdefault("secret_keys", _embedded_keys(settings.data_dir))
        return Settings(**{name: value for name, value in chosen.items() if not getattr(settings, name, None)})
    except ValidationError as error:
        lines = [
            _in_words(problem["loc"], problem["msg"])
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise ConfigError("The configuration cannot be used:\n" + "\n".join(f"  - {line}" for line in lines)) from None


def running_settings(data_dir: Path) -> dict[str, str]:
    """Settings (by field name) that the running supervisor of this data folder chose; empty when none is running.

    They stand in `run.json`; a file whose supervisor does not hold `run.lock` any more is a leftover and ignored (its process
    id alone proves nothing: in a container the next process soon has the same).
    """
    try:
        if not _is_locked(data_dir / "run.lock"):
            return {}
        state = json.loads((data_dir / "run.json").read_text(encoding="utf-8"))
        return {str(name): str(value) for name, value in state["settings"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _embedded_keys(data_dir: Path) -> str:
    """The keys that `run` made for the embedded database of this folder; empty before its first run."""
    try:
        return str(json.loads((data_dir / "secrets.json").read_text(encoding="utf-8"))["secret_keys"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _is_locked(path: Path) -> bool:
    """Whether a process holds the lock file; the supervisor that takes it waits out our short look."""
    if sys.platform == "win32":
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _has_usable_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _in_words(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"{str(location[0]).upper()}: {message}" if location else message
