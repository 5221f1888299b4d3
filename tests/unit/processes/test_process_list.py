"""The process list: what runs for which settings, and which secrets go where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from sandbox.telegram.twin import API_HASH, API_ID
from switchboard.errors import ConfigError
from switchboard.processes import generated_secrets
from switchboard.processes.process import Phase, ProcessSpec
from switchboard.processes.process_list import Plan, make_plan
from switchboard.queues import GATEWAY_QUEUES, PROCESS_QUEUES, THREAD_QUEUES
from switchboard.settings import Settings

POSTGRESQL = {"database_url": "postgresql://u:p@db/s", "secret_keys": (SecretStr("k" * 32),)}

Planner = Callable[..., Plan]


@pytest.fixture
def plan(tmp_path: Path) -> Planner:
    def make(*, sandbox: bool = False, environment: Mapping[str, str] | None = None, **values: Any) -> Plan:
        settings = Settings(_env_file=None, data_dir=tmp_path, **values)  # type: ignore[call-arg]
        secrets = generated_secrets.read_or_make(tmp_path)
        return make_plan(
            settings, sandbox=sandbox, secrets=secrets, any_ports=True, environment=environment or {"PATH": "/bin"}
        )

    return make


def by_name(plan: Plan) -> dict[str, ProcessSpec]:
    return {spec.name: spec for spec in plan.specs}


def test_without_settings_everything_runs_embedded(plan: Planner) -> None:
    made = plan()

    assert list(by_name(made)) == ["valkey", "migrate", "worker", "expander", "telegram", "flower", "web", "beat"]
    assert made.settings["database_url"].startswith("sqlite:////")
    assert made.settings["redis_url"].startswith("redis://:")


def test_a_set_redis_url_is_used_instead_of_the_embedded_server(plan: Planner) -> None:
    made = plan(redis_url="redis://broker:6379/0", **POSTGRESQL)

    assert "valkey" not in by_name(made)
    environment = by_name(made)["worker"].environment
    assert environment["REDIS_URL"] == "redis://broker:6379/0"
    assert environment["DATABASE_URL"] == "postgresql+psycopg://u:p@db/s"
    assert environment["SECRET_KEYS"] == "k" * 32


def test_the_twin_stands_in_only_for_a_mattermost_that_is_not_set(plan: Planner) -> None:
    twin = plan(sandbox=True)
    real = plan(sandbox=True, mattermost_url="https://chat.example.org", mattermost_token=SecretStr("t" * 26))

    assert by_name(twin)["worker"].environment["MATTERMOST_URL"] == by_name(twin)["sandbox"].url
    assert (
        by_name(twin)["worker"].environment["MATTERMOST_TOKEN"]
        == by_name(twin)["sandbox"].environment["SANDBOX_BOT_TOKEN"]
    )
    assert by_name(real)["worker"].environment["MATTERMOST_URL"] == "https://chat.example.org"
    assert by_name(real)["worker"].environment["MATTERMOST_TOKEN"] == "t" * 26
    assert "mattermost_url" not in real.settings


def test_the_twin_of_telegram_stands_in_only_where_no_telegram_is_set(plan: Planner) -> None:
    twin = plan(sandbox=True)
    real = plan(sandbox=True, telegram_api_id=1, telegram_api_hash=SecretStr("a" * 32))

    gateway = by_name(twin)["telegram"].environment
    spec = by_name(twin)["telegram-twin"]
    assert (
        gateway["TELEGRAM_DC_ADDRESS"] == twin.settings["telegram_dc_address"] == spec.url == f"127.0.0.1:{spec.port}"
    )
    assert gateway["TELEGRAM_DC_KEY"] == twin.settings["telegram_dc_key"]
    assert Path(gateway["TELEGRAM_DC_KEY"]).parent == Path(spec.argv[-1])
    assert (gateway["TELEGRAM_API_ID"], gateway["TELEGRAM_API_HASH"]) == (str(API_ID), API_HASH)
    control_port = spec.argv[spec.argv.index("--control-port") + 1]
    assert by_name(twin)["sandbox"].environment["SANDBOX_TELEGRAM_URL"] == f"http://127.0.0.1:{control_port}"
    assert "telegram-twin" not in by_name(real)
    assert "TELEGRAM_DC_ADDRESS" not in by_name(real)["telegram"].environment
    assert by_name(real)["sandbox"].environment["SANDBOX_TELEGRAM_URL"] == ""


def test_only_the_twins_own_ports_are_excepted_from_the_guard_against_private_addresses(plan: Planner) -> None:
    made = plan(sandbox=True, allowed_private_addresses=("10.0.0.5:443",))

    twins = [f"127.0.0.1:{by_name(made)[name].port}" for name in ("sandbox", "radicale")]
    assert made.settings["allowed_private_addresses"].split(",") == ["10.0.0.5:443", *twins]
    assert "ALLOWED_PRIVATE_ADDRESSES" not in by_name(plan())["worker"].environment


def test_the_twin_of_mattermost_may_call_our_web_process_only(plan: Planner) -> None:
    specs = by_name(plan(sandbox=True))

    assert specs["sandbox"].environment["SANDBOX_ALLOWED_CONNECTIONS"] == f"127.0.0.1:{specs['web'].port}"
    assert specs["sandbox"].environment["SANDBOX_CALDAV_URL"] == specs["radicale"].url


def test_the_twins_and_valkey_get_none_of_our_secrets(plan: Planner) -> None:
    made = plan(sandbox=True, environment={"PATH": "/bin", "SECRET_KEYS": "x" * 32, "MATTERMOST_TOKEN": "y"})
    ours = {"SECRET_KEYS", "ADMIN_TOKEN", "REDIS_URL", "DATABASE_URL", "FLOWER_PASSWORD", "MATTERMOST_TOKEN"}

    for name in ("sandbox", "radicale", "telegram-twin", "valkey"):
        assert not ours & by_name(made)[name].environment.keys()


def test_no_secret_stands_on_a_command_line_or_in_a_representation(plan: Planner, tmp_path: Path) -> None:
    made = plan(sandbox=True)
    secrets = generated_secrets.read_or_make(tmp_path)
    values = [getattr(secrets, name) for name in secrets.__slots__]

    for spec in made.specs:
        assert not [value for value in values if value in repr(spec) or value in " ".join(spec.argv)]
    assert not [value for value in values if value in repr(secrets)]


def test_generated_secrets_are_made_once_and_private(plan: Planner, tmp_path: Path) -> None:
    first, second = plan(), plan()

    assert first.settings["secret_keys"] == second.settings["secret_keys"]
    assert len(first.settings["secret_keys"]) >= 32
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_damaged_secrets_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text('{"secret_keys": "abc', encoding="utf-8")

    with pytest.raises(ConfigError, match="restore it from a backup"):
        generated_secrets.read_or_make(tmp_path)
    assert (tmp_path / "secrets.json").read_text(encoding="utf-8") == '{"secret_keys": "abc'


def test_with_a_database_of_its_own_a_deployment_gets_no_generated_keys(plan: Planner) -> None:
    made = plan(**POSTGRESQL)

    assert "secret_keys" not in made.settings
    assert "admin_token" not in made.settings
    assert "flower_password" in made.settings


@pytest.mark.parametrize("given", [{}, {"redis_url": "redis://broker/0"}, POSTGRESQL])
def test_the_embedded_mode_refuses_a_host_that_forgets_its_files(plan: Planner, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL and REDIS_URL"):
        plan(environment={"DYNO": "web.1"}, **given)


def test_a_host_with_both_servers_set_may_run_it(plan: Planner) -> None:
    made = plan(environment={"DYNO": "web.1"}, redis_url="redis://broker/0", **POSTGRESQL)

    assert "DYNO" not in by_name(made)["flower"].environment  # there it means: take the port of the web process


def test_every_queue_has_exactly_one_worker(plan: Planner) -> None:
    specs = by_name(plan())
    served = [
        spec.argv[spec.argv.index("-Q") + 1].split(",")
        for spec in (specs["worker"], specs["expander"], specs["telegram"])
    ]

    assert served == [list(THREAD_QUEUES), list(PROCESS_QUEUES), list(GATEWAY_QUEUES)]


def test_workers_may_finish_what_they_hold_and_stop_before_the_broker(plan: Planner) -> None:
    specs = by_name(plan(sandbox=True))

    assert specs["worker"].grace_s > 25
    assert specs["beat"].phase == specs["web"].phase == Phase.PRODUCERS
    assert Phase.PRODUCERS > specs["worker"].phase > specs["sandbox"].phase > specs["valkey"].phase


def test_children_read_exactly_the_settings_the_supervisor_read(plan: Planner) -> None:
    environment = by_name(plan(calendar_poll_seconds=33, flower_writable=True, host="0.0.0.0"))["web"].environment

    assert environment["CALENDAR_POLL_SECONDS"] == "33"
    assert environment["FLOWER_WRITABLE"] == "True"
    assert environment["HOST"] == "0.0.0.0"
