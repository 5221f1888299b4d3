"""The processes of `run`, as plain data. Hosts with a process manager of their own use the Procfile instead."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from switchboard.errors import ConfigError
from switchboard.processes.embedded_valkey import valkey_process, valkey_url
from switchboard.processes.generated_secrets import GeneratedSecrets
from switchboard.processes.ports import PortChooser
from switchboard.processes.process import FileReady, Phase, PortReady, ProcessSpec
from switchboard.queues import GATEWAY_QUEUES, PROCESS_QUEUES, THREAD_QUEUES
from switchboard.settings import Settings, environment_names

ROOT = Path(__file__).resolve().parents[2]
VALKEY_PORT = 6390
SANDBOX_PORT = 8065
CALDAV_PORT = 5232
TELEGRAM_PORT = 8443
TELEGRAM_CONTROL_PORT = 8066
SANDBOX_API_ID, SANDBOX_API_HASH = "94575", "a3406de8d684bb1f1b9e2d2d7b3c9a10"  # the application that the twin knows
WORKER_GRACE_S = 27.0  # workers finish what they hold within 25 s
WEB_GRACE_S = 25.0  # it answers what is under way within 22 s
GATEWAY_THREADS = 4  # its tasks only pass hints to its loop
SAMPLES_VARIABLE = "SANDBOX_SAMPLES"  # `empty`: sample calendars without meetings, and nobody is connected to them
READY_FILE_VARIABLE = "SWITCHBOARD_READY_FILE"  # read by tasks/readiness.py


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, and the settings (by field name) with which other commands reach it."""

    specs: tuple[ProcessSpec, ...]
    settings: Mapping[str, str]


def make_plan(
    settings: Settings,
    *,
    sandbox: bool,
    secrets: GeneratedSecrets,
    any_ports: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Plan:
    """The process list for these settings: an embedded Valkey where REDIS_URL is empty, the sandbox's twins on demand.

    A remote whose settings are present is the real one, else, with the sandbox, its twin. `any_ports` takes free ports
    wherever none is set. `environment` is the one that children inherit (default: ours), without our own settings.
    ConfigError when an explicitly set port is taken, or on a host that would lose the embedded data.
    """
    inherited = dict(os.environ if environment is None else environment)
    if "DYNO" in inherited and not (settings.redis_url and settings.database_url):
        raise ConfigError(
            "Files on this host vanish at every restart: set DATABASE_URL and REDIS_URL (add-ons of the host) instead of the "
            "embedded database and Valkey"
        )
    return _Planner(settings, secrets, inherited, sandbox=sandbox, any_ports=any_ports).plan()


class _Planner:
    def __init__(
        self,
        settings: Settings,
        secrets: GeneratedSecrets,
        inherited: dict[str, str],
        *,
        sandbox: bool,
        any_ports: bool,
    ) -> None:
        self._settings = settings
        self._secrets = secrets
        self._sandbox = sandbox
        self._data_dir = settings.data_dir.resolve()
        self._ports = PortChooser(any_free=any_ports)
        self._any_ports = any_ports
        self._foreign = {
            # DYNO would make Flower take the port of the web process
            name: value
            for name, value in inherited.items()
            if name not in environment_names() and name != "DYNO"
        }
        self._foreign["PYTHONPATH"] = os.pathsep.join(
            part for part in (str(ROOT), inherited.get("PYTHONPATH", "")) if part
        )
        self._foreign["PYTHONUNBUFFERED"] = "1"

    def plan(self) -> Plan:
        settings, secrets = self._settings, self._secrets
        chosen: dict[str, str] = {
            "data_dir": str(self._data_dir),
            "database_url": settings.database_url or f"sqlite:///{self._data_dir / settings.sqlite_path.name}",
            "redis_url": settings.redis_url,
            "port": str(self._own_port("port", settings.port)),
            "flower_port": str(self._own_port("flower_port", settings.flower_port)),
        }
        if not settings.database_url:
            if not settings.secret_keys:
                chosen["secret_keys"] = secrets.secret_keys
            if settings.admin_token is None:
                chosen["admin_token"] = secrets.admin_token
        if settings.flower_password is None:
            chosen["flower_password"] = secrets.flower_password
        if not settings.flower_url:
            chosen["flower_url"] = f"http://127.0.0.1:{chosen['flower_port']}"

        servers: list[ProcessSpec] = []
        if not settings.redis_url:
            port = self._ports.choose(VALKEY_PORT)
            chosen["redis_url"] = valkey_url(port=port, password=secrets.valkey_password)
            servers.append(
                valkey_process(self._data_dir, port=port, password=secrets.valkey_password, environment=self._foreign)
            )
        reachable_only_here: dict[str, str] = {}
        samples: dict[str, str] = {}
        if self._sandbox:
            telegram_url = ""
            if not self._has_telegram():
                control_port, folder = self._ports.choose(TELEGRAM_CONTROL_PORT), self._data_dir / "telegram-twin"
                telegram_url = f"http://127.0.0.1:{control_port}"
                telegram = self._telegram_twin(folder, control_port)
                servers.append(telegram)
                chosen["telegram_dc_address"], chosen["telegram_dc_key"] = telegram.url, str(folder / "server.pem")
                chosen["telegram_api_id"], chosen["telegram_api_hash"] = SANDBOX_API_ID, SANDBOX_API_HASH
            twins = self._twins(web_port=chosen["port"], telegram_url=telegram_url)
            servers.extend(twins)
            samples = dict(twins[0].environment)
            chosen["allowed_private_addresses"] = ",".join(
                (*settings.allowed_private_addresses, *(f"127.0.0.1:{twin.port}" for twin in twins))
            )
            reachable_only_here = {
                "sandbox_admin_token": secrets.sandbox_admin_token,
                "sandbox_caldav_password": secrets.sandbox_caldav_password,
            }
            if not settings.mattermost_url:
                chosen["mattermost_url"] = twins[0].url
                chosen["mattermost_token"] = secrets.sandbox_bot_token
                reachable_only_here["mattermost_admin_token"] = secrets.sandbox_admin_token
                if not settings.public_url:
                    chosen["public_url"] = f"http://127.0.0.1:{chosen['port']}"

        environment = self._foreign | as_environment(settings) | {name.upper(): value for name, value in chosen.items()}
        own = self._own(chosen, environment)
        if self._sandbox and not settings.mattermost_url:
            own = (*own, self._samples({**samples, **environment}))
        return Plan((*servers, *own), chosen | reachable_only_here)

    def _own_port(self, field: str, port: int) -> int:
        """A port of ours: exactly the one that was set, else the usual one or the next free one."""
        if field in self._settings.model_fields_set:
            return self._ports.require(port, setting=field.upper())
        return self._ports.choose(port)

    def _has_telegram(self) -> bool:
        """Whether the settings name an application of the real Telegram, or a data centre of one's own."""
        return self._settings.telegram_api_id is not None or bool(self._settings.telegram_dc_address)

    def _telegram_twin(self, folder: Path, control_port: int) -> ProcessSpec:
        """It gets no secret at all and calls nobody; the gateway calls it, and the sandbox's page at the control port."""
        port = self._ports.choose(TELEGRAM_PORT)
        ports = ("--port", str(port), "--control-port", str(control_port))
        return ProcessSpec(
            name="telegram-twin",
            argv=_python("sandbox.telegram", *ports, "--data", str(folder)),
            environment=self._foreign,
            phase=Phase.PREPARATION,
            ready=PortReady(control_port),  # opened last
            purpose=f"Telegram twin, on the page; control {control_port}",
            url=f"127.0.0.1:{port}",
            port=port,
        )

    def _twins(self, *, web_port: str, telegram_url: str) -> tuple[ProcessSpec, ProcessSpec]:
        """The sandbox gets no secret of ours but those that the twins themselves check; it may call our web process only."""
        mattermost_port, caldav_port = self._ports.choose(SANDBOX_PORT), self._ports.choose(CALDAV_PORT)
        environment = self._foreign | {
            "SANDBOX_BOT_TOKEN": self._secrets.sandbox_bot_token,
            "SANDBOX_ADMIN_TOKEN": self._secrets.sandbox_admin_token,
            "SANDBOX_CALDAV_PASSWORD": self._secrets.sandbox_caldav_password,
            "SANDBOX_CALDAV_URL": f"http://127.0.0.1:{caldav_port}",
            "SANDBOX_ALLOWED_CONNECTIONS": f"127.0.0.1:{web_port}",
            "SANDBOX_TELEGRAM_URL": telegram_url,
        }
        return (
            ProcessSpec(
                name="sandbox",
                argv=_python("sandbox", "--port", str(mattermost_port), "--data", str(self._data_dir / "sandbox")),
                environment=environment,
                phase=Phase.PREPARATION,
                ready=PortReady(mattermost_port),
                purpose="the page, and Mattermost twin",
                url=f"http://127.0.0.1:{mattermost_port}",
                port=mattermost_port,
            ),
            ProcessSpec(
                name="radicale",
                argv=_python("sandbox.caldav", "--port", str(caldav_port), "--data", str(self._data_dir / "radicale")),
                environment=environment,
                phase=Phase.PREPARATION,
                ready=PortReady(caldav_port),
                purpose="sample calendars (CalDAV)",
                url=f"http://127.0.0.1:{caldav_port}",
                port=caldav_port,
                hint=f"password {self._secrets.sandbox_caldav_password}",
                show_warnings=False,  # it announces its log level as a warning
            ),
        )

    def _own(self, chosen: Mapping[str, str], environment: Mapping[str, str]) -> tuple[ProcessSpec, ...]:
        settings = self._settings
        port, flower_port = int(chosen["port"]), int(chosen["flower_port"])
        local_host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
        shown_host = f"[{local_host}]" if ":" in local_host else local_host
        password = chosen.get("flower_password") or _plain(settings.flower_password)
        return (
            ProcessSpec(
                name="migrate",
                argv=_python("switchboard", "migrate"),
                environment=environment,
                phase=Phase.PREPARATION,
                once=True,
                purpose="database schema",
            ),
            self._worker("worker", "threads", settings.worker_threads, THREAD_QUEUES, environment, "tasks, on threads"),
            self._worker("expander", "prefork", 1, PROCESS_QUEUES, environment, "tasks under hard time limits"),
            self._worker(
                "telegram", "threads", GATEWAY_THREADS, GATEWAY_QUEUES, environment, "holds Telegram accounts"
            ),
            ProcessSpec(
                name="flower",
                argv=_python("tasks.monitor"),
                environment=environment,
                phase=Phase.WORKERS,  # before beat: Flower names only the tasks whose start it saw
                ready=PortReady(flower_port),
                purpose="tasks and workers, live",
                url=chosen.get("flower_url", settings.flower_url),
                port=flower_port,
                hint=f"{settings.flower_user} / {password}",
                show_warnings=False,  # it complains of workers that are still starting
            ),
            ProcessSpec(
                name="web",
                argv=_python("routes.server"),
                environment=environment,
                # granian listens before the application is loaded, so an open port proves nothing
                ready=PortReady(
                    port,
                    host=local_host,
                    greeting=b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
                    expected=b"HTTP/1.1 200",
                ),
                grace_s=WEB_GRACE_S,
                purpose="HTTP: /readyz, /openapi.json",
                url=f"http://{shown_host}:{port}",
                port=port,
            ),
            ProcessSpec(
                name="beat",
                argv=_python("celery", "-A", "tasks.app", "beat", "-S", "redbeat.RedBeatScheduler"),
                environment=environment,
                settle_s=2.0,
                purpose="starts what is due",
            ),
        )

    def _samples(self, environment: Mapping[str, str]) -> ProcessSpec:
        """Connects the sandbox's people once everything runs, so that a newcomer sees an agenda without typing anything."""
        return ProcessSpec(
            name="samples",
            argv=_python("switchboard", "sandbox", "connect"),
            environment=environment,
            phase=Phase.PRODUCERS,
            once=True,
            purpose="installs the slash commands, connects the sandbox's people to their calendars, then ends",
        )

    def _worker(
        self, name: str, pool: str, size: int, queues: tuple[str, ...], environment: Mapping[str, str], purpose: str
    ) -> ProcessSpec:
        folder = self._data_dir / "run"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ready_file = folder / f"{name}.ready"
        return ProcessSpec(
            name=name,
            argv=_python(
                *("celery", "-A", "tasks.app", "worker", "-P", pool, "-c", str(size), "-Q", ",".join(queues)),
                # gossip and mingle serve elections and revocations, which we do not use, and gossip fails when a broker returns
                *("-E", "-n", f"{name}@%h", "--without-gossip", "--without-mingle", "-I", "tasks.readiness"),
            ),
            environment={**environment, READY_FILE_VARIABLE: str(ready_file)},
            phase=Phase.WORKERS,
            ready=FileReady(ready_file),
            grace_s=WORKER_GRACE_S,
            purpose=purpose,
        )


def as_environment(settings: Settings) -> dict[str, str]:
    """What was set, as environment variables, so that children read exactly what we read (from `.env` too)."""
    return {
        name.upper(): text for name in sorted(settings.model_fields_set) if (text := _plain(getattr(settings, name)))
    }


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(_plain(item) for item in value)
    if isinstance(value, Path):
        return str(value.resolve())
    return "" if value is None else str(value)


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)
