"""A restored copy of the database opens no account by itself; nothing else is taken for one."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url, select, text

from sandbox.telegram.twin import TelegramTwin
from switchboard.db.engine import Database
from switchboard.db.models import AuditEntry, TelegramAccount, TelegramShard, TelegramSignIn
from switchboard.db.place import FILE, place_of
from switchboard.services.telegram.restores import Restores
from tests.integration.command_line import forget_services
from tests.integration.telegram.conftest import Office, utc_now
from tests.integration.telegram.test_cli import Run, run

__all__ = ["run"]

PHONE = "+79161234567"


class Place:
    """Where the database stands, as the test says."""

    def __init__(self, office: Office) -> None:
        self.at: str | None = "here"
        self.restores = Restores(office.database, utc_now, lambda: self.at)


@pytest.fixture
def place(office: Office) -> Place:
    return Place(office)


def account(office: Office, name: str) -> int:
    office.twin.add_person(name)
    return office.add_signed_in(name).id


def test_accounts_run_on_where_the_database_stays(office: Office, place: Place) -> None:
    ann = account(office, "Ann")
    for _ in range(3):  # starts of gateways
        assert place.restores.look() == []
    office.gateway()
    office.wait_state(ann, "online")


def test_in_a_copy_every_account_is_stopped_until_somebody_starts_it(office: Office, place: Place) -> None:
    ann, bea = account(office, "Ann"), account(office, "Bea")
    place.restores.look()
    place.at = "there"
    assert place.restores.look() == [ann, bea]
    assert place.restores.look() == []
    office.gateway()
    for number in (ann, bea):
        view = office.accounts.get(number)
        assert (view.state, view.reason, view.wanted) == ("stopped", "restored", "stop")
    assert not office.twin.call(lambda: len(office.twin.server.connections))
    office.accounts.start(bea, actor="test")
    office.wait_state(bea, "online")
    assert office.accounts.get(ann).state == "stopped"
    with office.database.read() as session:
        stops = session.scalars(select(AuditEntry.subject).where(AuditEntry.action == "telegram.stop")).all()
    assert sorted(stops) == [f"telegram_account:{ann}", f"telegram_account:{bea}"]


def test_where_the_place_is_not_known_nothing_is_stopped(office: Office, place: Place) -> None:
    ann = account(office, "Ann")
    place.restores.look()
    place.at = None
    assert place.restores.look() == []
    assert office.accounts.get(ann).wanted == "run"
    assert place.restores.stop_all(actor="test") == [ann]


def test_a_copy_signs_nobody_in_and_out_and_knows_no_lease_of_the_original(office: Office, place: Place) -> None:
    place.restores.look()
    person = office.twin.add_person("Ann")
    ann = office.add_signed_in("Ann").id
    office.twin.add_person("New", phone=PHONE)
    new = office.accounts.add_user(PHONE, actor="test").id
    office.gateway()
    office.wait_state(ann, "online")
    office.step(new, office.sign_ins.request_code(new, actor="test"))
    office.hosts.pop().stop()
    assert office.accounts.remove(ann, log_out=True, actor="test") is False
    with office.database.write() as session:
        fences = {row.shard: row.fence for row in session.scalars(select(TelegramShard))}
        for row in session.scalars(select(TelegramShard)):
            row.owner, row.leased_until = "original", utc_now()
    place.at = "there"
    assert place.restores.look() == [ann]
    with office.database.read() as session:
        assert session.scalars(select(TelegramSignIn)).all() == []
        rows = session.scalars(select(TelegramShard)).all()
        assert {(row.owner, row.leased_until) for row in rows} == {(None, None)}
        assert all(row.fence > fences[row.shard] for row in rows)
    assert office.accounts.get(new).state == "new"
    office.gateway()
    assert office.accounts.get(ann).wanted == "stop"
    assert len(office.twin.call(lambda: office.twin.server.keys_of(person.id))) == 1  # not logged out


def test_an_account_of_the_variables_waits_for_somebody_too(office: Office, place: Place) -> None:
    office.twin.add_person("Ann")
    bea = office.twin.add_person("Bea")
    text_of_ann = office.twin.session_string("Ann")
    office.environment(session=text_of_ann).apply()
    (mine,) = office.accounts.list_accounts()
    place.restores.look()
    place.at = "there"
    assert place.restores.look() == [mine.id]
    office.environment(session=text_of_ann).apply()  # copied with everything else
    office.gateway()
    assert office.accounts.get(mine.id).reason == "restored"
    office.accounts.start(mine.id, actor="test")
    office.wait_state(mine.id, "online")
    place.restores.stop_all(actor="test")
    office.environment(session=office.twin.session_string("Bea")).apply()  # nobody else has it
    office.wait(mine.id, lambda view: view.own_id == bea.id and view.state == "online")


# --- the sign -------------------------------------------------------------------------------------------------------


def test_a_backup_of_the_embedded_database_opens_nothing_while_the_original_runs(
    office: Office, sqlite_url: str, twin: TelegramTwin, tmp_path: Path
) -> None:
    def restores(database: Database) -> Restores:
        return Restores(database, utc_now, lambda: place_of(database))

    ann = account(office, "Ann")
    assert restores(office.database).look() == []
    office.gateway()
    office.wait_state(ann, "online")

    folder = tmp_path / "restored"
    folder.mkdir()
    original = make_url(sqlite_url).database
    assert original is not None
    with closing(sqlite3.connect(original)) as source, closing(sqlite3.connect(folder / "copy.sqlite3")) as target:
        source.backup(target)
    database = Database(f"sqlite:///{folder / 'copy.sqlite3'}")
    try:
        copy = Office(database, twin, folder)
        assert restores(database).look() == [ann]
        copy.gateway()
        assert copy.accounts.get(ann).reason == "restored"
        assert office.accounts.get(ann).state == "online"
        assert office.twin.call(lambda: len(office.twin.server.connections)) == 1
        assert restores(database).look() == []
        for host in copy.hosts:
            host.stop()
    finally:
        database.dispose()
    assert restores(office.database).look() == []


def test_the_embedded_databases_place_is_a_file_beside_it(sqlite_url: str) -> None:
    first, second = Database(sqlite_url), Database(sqlite_url)
    place = place_of(first)
    assert place is not None
    assert place_of(second) == place
    path = Path(make_url(sqlite_url).database or "").parent / FILE
    assert path.read_text(encoding="ascii") == place.removeprefix("sqlite:")
    path.unlink()
    assert place_of(first) != place
    for database in (first, second):
        database.dispose()


def test_the_place_is_made_once_also_on_a_file_system_without_hard_links(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_names: object) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    monkeypatch.setattr("os.link", refuse)
    database = Database(sqlite_url)
    folder = Path(make_url(sqlite_url).database or "").parent
    place = place_of(database)
    assert place is not None
    assert place_of(database) == place
    assert [found.name for found in folder.glob(f"{FILE}*")] == [FILE]
    (folder / FILE).write_bytes(b"")  # another process has made it and not written it yet
    assert place_of(database) is None
    database.dispose()


def test_postgresqls_place_is_the_databases_own_and_every_role_may_ask(postgres_url: str) -> None:
    first, second = Database(postgres_url), Database(postgres_url)
    place = place_of(first)
    assert place is not None
    assert place_of(second) == place
    other = Database(make_url(postgres_url).set(database="postgres").render_as_string(hide_password=False))
    assert place_of(other) not in (None, place)
    with first.read() as session:
        session.execute(text("CREATE ROLE nobody_special"))
        session.execute(text("SET ROLE nobody_special"))
        assert session.scalar(text("SELECT system_identifier FROM pg_control_system()"))
    for database in (first, second, other):
        database.dispose()


# --- an operator says so ----------------------------------------------------------------------------------------------


def test_an_operator_stops_a_copy_and_starts_it_when_the_original_is_gone(office: Office, run: Run) -> None:
    ann, bea = account(office, "Ann"), account(office, "Bea")
    office.accounts.stop(bea, actor="test")
    told = run("restored", "--yes")
    assert "1 accounts are stopped" in told.out, told.told
    assert "start --restored" in told.out
    office.gateway()
    assert [one.state for one in office.accounts.list_accounts()] == ["stopped"] * 2
    assert "is online" in run("start", "--restored").out
    assert (office.accounts.get(ann).state, office.accounts.get(bea).state) == ("online", "stopped")
    assert run("start").status == 1


def test_doctor_warns_of_what_a_restore_stopped(office: Office, run: Run) -> None:
    from switchboard import wiring  # noqa: PLC0415
    from switchboard.services.doctor import examine  # noqa: PLC0415

    ann = account(office, "Ann")
    run("restored", "--yes")
    try:
        checks = [check for check in wiring.doctor_checks() if check.name.startswith(f"telegram account {ann}")]
        (found,) = examine(checks)
    finally:
        forget_services()
    assert found.verdict == "warning"
    assert "restored copy" in found.detail


def test_the_row_of_an_account_that_a_restore_stopped_keeps_its_session(office: Office, place: Place) -> None:
    ann = account(office, "Ann")
    place.restores.stop_all(actor="test")
    with office.database.read() as session:
        row = session.get_one(TelegramAccount, ann)
    assert row.session is not None
    assert row.key_digest is not None
