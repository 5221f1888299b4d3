"""Accounts as operators add and change them, those of the environment, and sessions from files."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from telethon.sessions import SQLiteSession, StringSession

from switchboard.clients.telegram.connection import Connection
from switchboard.db.models import (
    AuditEntry,
    Delivery,
    DeliveryState,
    TelegramAccount,
    TelegramChat,
    TelegramMessage,
    TelegramMiss,
    TelegramPeer,
    TelegramSent,
    TelegramWait,
)
from switchboard.db.repositories.deliveries import DeliveryRepository, NewDelivery
from switchboard.domain.telegram.sessions import Application, is_at_home, key_digest, pack
from switchboard.errors import ConflictError, InvalidInputError, NotFoundError
from switchboard.services.keys import Keys
from switchboard.services.telegram.accounts import TelegramAccounts
from tests.integration.telegram.conftest import BOX, Office, utc_now

PHONE = "+79161234567"
HASH = "0123456789abcdef0123456789abcdef"


def session_file(office: Office, name: str, *, file_name: str = "ann.session") -> Path:
    """A file of Telethon's own making with the session of one of the twin's people."""
    from switchboard.clients.telegram.connection import read_session  # noqa: PLC0415

    made = read_session(office.twin.session_string(name))
    office.import_dir.mkdir(exist_ok=True)
    path = office.import_dir / file_name
    stored = SQLiteSession(str(path))
    stored.set_dc(made.dc_id, made.server_address, made.port)
    stored.auth_key = made.auth_key
    stored.save()
    stored.close()
    return path


def row(office: Office, account_id: int) -> TelegramAccount:
    with office.database.read() as session:
        return session.get_one(TelegramAccount, account_id)


# --- adding ---------------------------------------------------------------------------------------------------------


def test_a_number_is_here_once_however_it_is_written(office: Office) -> None:
    account = office.accounts.add_user("+7 (916) 123-45-67", actor="test")
    assert (account.phone, account.state, account.kind, account.origin) == (PHONE, "new", "user", "database")
    with pytest.raises(ConflictError, match="here already"):
        office.accounts.add_user(PHONE, actor="test")
    assert [one.id for one in office.accounts.list_accounts()] == [account.id]


def test_an_account_has_its_own_application_or_that_of_the_settings(office: Office) -> None:
    own = office.accounts.add_user("+79160000001", api_id=17, api_hash=HASH, actor="test")
    assert own.api_id == 17
    assert BOX.decrypt(row(office, own.id).api_hash) == HASH
    without = TelegramAccounts(office.database, BOX, utc_now, application=None, import_dir=office.import_dir)
    with pytest.raises(InvalidInputError, match="TELEGRAM_API_ID"):
        without.add_user("+79160000002", actor="test")


@pytest.mark.parametrize(
    ("api_id", "api_hash", "field"),
    [
        (17, None, "api_hash"),
        (None, HASH, "api_id"),
        (0, HASH, "api_id"),
        (2**31, HASH, "api_id"),
        (17, "x", "api_hash"),
    ],
)
def test_half_or_nonsense_of_an_application_is_refused(
    office: Office, api_id: int | None, api_hash: str | None, field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        office.accounts.add_user(PHONE, api_id=api_id, api_hash=api_hash, actor="test")
    assert caught.value.field == field


@pytest.mark.parametrize("token", ["", "abc", "123456", "123456:short", "x:" + "a" * 35])
def test_what_is_no_bot_token_is_refused_and_not_repeated(office: Office, token: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        office.accounts.add_bot(token, actor="test")
    assert caught.value.field == "token"
    assert len(token) < 5 or token not in str(caught.value)


def test_what_is_not_there_is_said_so(office: Office) -> None:
    for act in (office.accounts.get, office.sign_ins._accounts.get):
        with pytest.raises(NotFoundError):
            act(7)
    with pytest.raises(NotFoundError):
        office.accounts.start(7, actor="test")


def test_an_account_without_a_session_is_removed_at_once(office: Office) -> None:
    account = office.accounts.add_user(PHONE, actor="test")
    with pytest.raises(ConflictError, match="sign in first"):
        office.accounts.start(account.id, actor="test")
    assert office.accounts.remove(account.id, log_out=True, actor="test") is True
    assert office.accounts.list_accounts() == []


def test_the_audit_log_names_no_phone_and_no_secret(office: Office) -> None:
    account = office.accounts.add_user(PHONE, api_id=17, api_hash=HASH, actor="ann")
    office.accounts.stop(account.id, actor="ann")
    office.accounts.remove(account.id, log_out=False, actor="ann")
    with office.database.read() as session:
        entries = list(session.scalars(select(AuditEntry).order_by(AuditEntry.id)))
    assert [(entry.actor, entry.action) for entry in entries] == [
        ("ann", "telegram.add"),
        ("ann", "telegram.stop"),
        ("ann", "telegram.remove"),
    ]
    for entry in entries:
        assert entry.subject == f"telegram_account:{account.id}"
        assert PHONE not in str(entry.details)
        assert HASH not in str(entry.details)


def test_a_change_of_keys_reaches_every_secret_of_telegram(office: Office) -> None:
    from switchboard.crypto import SecretBox  # noqa: PLC0415

    office.twin.add_person("Ann", phone=PHONE, password="sesame", hint="cave")
    office.gateway()
    account = office.accounts.add_user(PHONE, actor="test")
    office.step(account.id, office.sign_ins.request_code(account.id, actor="test"))
    number = office.sign_ins.submit_code(account.id, office.twin.codes(PHONE)[-1].code, actor="test")
    office.step(account.id, number)
    office.hosts.pop().stop()
    both = SecretBox(["n" * 32, "k" * 32])
    assert Keys(office.database, both).rotate(lambda done, total: None) >= 4
    new = SecretBox(["n" * 32])
    accounts = TelegramAccounts(office.database, new, utc_now, application=None, import_dir=office.import_dir)
    view = accounts.get(account.id)
    assert view.sign_in is not None
    assert view.sign_in.hint == "cave"


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_session_file_of_telethon_becomes_an_account(office: Office) -> None:
    person = office.twin.add_person("Ann", phone=PHONE)
    path = session_file(office, "Ann")
    before = path.read_bytes()
    office.gateway()
    account = office.accounts.import_file("ann.session", actor="test")
    view = office.wait_state(account.id, "online")
    assert (view.own_id, view.phone) == (person.id, PHONE)
    assert path.read_bytes() == before


def test_one_session_is_here_once(office: Office) -> None:
    office.twin.add_person("Ann")
    path = session_file(office, "Ann")
    office.accounts.import_file("ann.session", actor="test")
    shutil.copy(path, path.with_name("copy.session"))
    with pytest.raises(ConflictError, match="open once"):
        office.accounts.import_file("copy.session", actor="test")


@pytest.mark.parametrize(
    "name",
    [
        "../ann.session",
        "/etc/passwd",
        "sub/ann.session",
        "link.session",
        "ann.session",
        "ann.txt",
        "none.session",
        "",
        ".",
    ],
)
def test_nothing_outside_the_one_folder_is_read(office: Office, tmp_path: Path, name: str) -> None:
    office.twin.add_person("Ann")
    inside = session_file(office, "Ann")
    outside = tmp_path / "ann.session"
    inside.rename(outside)
    (office.import_dir / "sub").mkdir()
    shutil.copy(outside, office.import_dir / "sub" / "ann.session")
    shutil.copy(outside, office.import_dir / "ann.txt")
    for link in ("link.session", "ann.session"):
        (office.import_dir / link).symlink_to(outside)
    with pytest.raises(InvalidInputError) as caught:
        office.accounts.import_file(name, actor="test")
    assert caught.value.field == "file"


def test_a_file_without_a_session_is_refused_in_words(office: Office) -> None:
    office.import_dir.mkdir()
    (office.import_dir / "text.session").write_text("hello", encoding="utf-8")
    (office.import_dir / "empty.session").touch()
    with sqlite3.connect(office.import_dir / "other.session") as opened:
        opened.execute("CREATE TABLE sessions (dc_id, server_address, port, auth_key)")
        opened.execute("INSERT INTO sessions VALUES (2, '149.154.167.51', 443, NULL)")
    opened.close()
    SQLiteSession(str(office.import_dir / "new.session")).close()
    for name in ("text", "empty", "other", "new"):
        with pytest.raises(InvalidInputError, match="no session"):
            office.accounts.import_file(f"{name}.session", actor="test")


# --- the environment ------------------------------------------------------------------------------------------------


def test_an_account_of_the_variables_appears_by_itself_and_is_read_only(office: Office) -> None:
    office.gateway()
    office.twin.add_person("Ann")
    text = office.twin.session_string("Ann")
    office.environment(session=text).apply()
    office.environment(session=text).apply()
    (account,) = office.accounts.list_accounts()
    assert account.origin == "env"
    office.wait_state(account.id, "online")
    for refuse in (
        lambda: office.accounts.stop(account.id, actor="test"),
        lambda: office.accounts.start(account.id, actor="test"),
        lambda: office.accounts.remove(account.id, log_out=True, actor="test"),
        lambda: office.sign_ins.request_code(account.id, actor="test"),
    ):
        with pytest.raises(ConflictError, match="variables"):
            refuse()


def test_a_new_string_replaces_the_session_and_no_string_stops_it(office: Office) -> None:
    office.twin.add_person("Ann")
    bea = office.twin.add_person("Bea")
    office.gateway()
    office.environment(session=office.twin.session_string("Ann")).apply()
    (account,) = office.accounts.list_accounts()
    office.wait_state(account.id, "online")

    other = office.twin.session_string("Bea")
    office.environment(session=other).apply()
    view = office.wait(account.id, lambda view: view.own_id == bea.id)
    assert view.state == "online"

    office.environment().apply()
    office.wait_state(account.id, "stopped", "not_in_environment")
    office.environment(session=other).apply()
    office.wait_state(account.id, "online")
    assert len(office.accounts.list_accounts()) == 1


def test_another_telegram_account_in_a_row_begins_with_nothing_of_the_one_before(office: Office) -> None:
    office.twin.add_person("Ann")
    bea = office.twin.add_person("Bea")
    office.gateway()
    office.environment(session=office.twin.session_string("Ann")).apply()
    (account,) = office.accounts.list_accounts()
    office.wait_state(account.id, "online")
    office.environment(session=office.twin.session_string("Ann")).apply()  # the same one under another session
    remember_much(office, account.id)
    office.wait_state(account.id, "online")
    assert remembered(office, account.id) == {"peers": 1, "misses": 1, "chats": 1, "sent": 1, "waits": 1, "messages": 3}

    office.environment(session=office.twin.session_string("Bea")).apply()
    office.wait(account.id, lambda view: view.own_id == bea.id and view.state == "online")
    assert remembered(office, account.id) == {
        **dict.fromkeys(("peers", "misses", "chats", "sent", "waits"), 0),
        "messages": 1,  # nobody has handled it yet
    }
    with office.database.read() as session:
        doubtful = session.scalars(select(Delivery)).one()
    assert (doubtful.state, doubtful.reason) == (
        DeliveryState.DEAD,
        "it may have been sent by the Telegram account that was here before",
    )
    found = row(office, account.id)
    assert (found.pts, found.qts, found.date, found.seq, found.top_message) == (None,) * 5


def remember_much(office: Office, account_id: int) -> None:
    """What an account comes to know, as gateways write it."""
    now = utc_now()
    message = {"account_id": account_id, "chat_id": 5, "edit": 0, "kind": "message", "out": False, "sent_at": now}
    with office.database.write() as session:
        delivery = NewDelivery(
            channel="telegram", kind="test", key="k", subject=f"telegram:{account_id}:5", recipient="5"
        )
        (delivery_id,) = DeliveryRepository(session).add([delivery], now)
        session.add(TelegramPeer(account_id=account_id, peer_id=5, kind="user", access_hash=1, name="Cat", seen_at=now))
        session.add(TelegramMiss(account_id=account_id, digest="d", until=now))
        session.add(TelegramChat(account_id=account_id, chat_id=5, top_message=9, read_in=9, read_out=9))
        session.add(TelegramSent(account_id=account_id, chat_id=5, message_id=3, delivery_id=delivery_id))
        session.execute(update(Delivery).where(Delivery.id == delivery_id).values(state=DeliveryState.UNCERTAIN))
        session.add(TelegramWait(account_id=account_id, method="first_contact", not_before=now, times=4))
        for number, state in enumerate(("received", "handled", "failed")):
            handled = {"message_id": number, "state": state, "stored_at": now, "next_attempt_at": now}
            session.add(TelegramMessage(**message, **handled))
        session.execute(
            update(TelegramAccount)
            .where(TelegramAccount.id == account_id)
            .values(pts=1, qts=2, date=3, seq=4, top_message=9)
        )


def remembered(office: Office, account_id: int) -> dict[str, int]:
    tables: dict[str, Any] = {
        "peers": TelegramPeer,
        "misses": TelegramMiss,
        "chats": TelegramChat,
        "sent": TelegramSent,
        "waits": TelegramWait,
        "messages": TelegramMessage,
    }
    with office.database.read() as session:
        return {
            name: len(session.scalars(select(model).where(model.account_id == account_id)).all())
            for name, model in tables.items()
        }


def test_a_string_that_stands_in_another_row_is_not_opened_twice(office: Office) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    stored = row(office, account.id).session
    assert stored is not None
    text = BOX.decrypt(stored)
    office.environment(session=text).apply()
    office.environment(session=text).apply()
    mine = next(one for one in office.accounts.list_accounts() if one.origin == "env")
    assert (mine.state, mine.reason) == ("stopped", "session_in_use")
    office.gateway()
    office.wait_state(account.id, "online")
    assert office.accounts.get(mine.id).reason == "session_in_use"


def test_a_string_that_is_none_is_said_so(office: Office) -> None:
    office.environment(session="1nonsense").apply()
    (account,) = office.accounts.list_accounts()
    assert (account.state, account.reason) == ("sign_in_again", "session_unreadable")


def test_a_bot_of_the_variables_follows_its_token(office: Office) -> None:
    bots = [office.twin.add_bot(f"Bot {number}", f"helper{number}_bot") for number in range(2)]
    office.gateway()
    office.environment(bot_token=bots[0].token).apply()
    (account,) = office.accounts.list_accounts()
    office.wait_state(account.id, "online")
    office.environment(bot_token=bots[1].token).apply()
    office.wait(account.id, lambda view: view.own_id == bots[1].id and view.state == "online")


# --- whose Telegram ---------------------------------------------------------------------------------------------------


REAL, TWINS = "149.154.167.51", "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "own_host", "may"),
    [
        (REAL, "", True),
        ("2001:67c:4e8:f002::a", "", True),
        (TWINS, TWINS, True),
        ("10.0.0.7", TWINS, True),
        (REAL, REAL, True),
        (REAL, TWINS, False),
        ("2001:67c:4e8:f002::a", "::1", False),
        (TWINS, "", False),
        ("192.168.1.2", "", False),
        ("nonsense", "", False),
    ],
)
def test_a_session_is_opened_where_it_was_made_alone(address: str, own_host: str, may: bool) -> None:
    assert is_at_home(address, own_host) is may


def made_elsewhere(office: Office, address: str) -> str:
    """A session of Ann's as if it was made at another address."""
    session = StringSession(office.twin.session_string("Ann"))
    return pack(session.dc_id, address, 443, session.auth_key.key)


def test_a_session_of_the_real_telegram_is_never_shown_to_a_sandbox(office: Office) -> None:
    ann = office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    here = row(office, account.id).session
    with office.database.write() as session:
        session.get_one(TelegramAccount, account.id).session = BOX.encrypt(made_elsewhere(office, REAL))
    office.gateway()
    view = office.wait_state(account.id, "stopped", "other_telegram")
    assert "TELEGRAM_API_ID" in (view.reason_text or "")
    assert not office.twin.call(lambda: len(office.twin.server.connections))
    kept = row(office, account.id)
    assert kept.session is not None
    assert kept.key_digest is not None

    with office.database.write() as session:
        session.get_one(TelegramAccount, account.id).session = here
    office.accounts.start(account.id, actor="test")
    assert office.wait_state(account.id, "online").own_id == ann.id


def test_a_session_of_a_sandbox_is_never_shown_to_the_real_telegram(office: Office) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")

    def real(application: Application, session: str, signing_in: bool) -> Connection:
        return Connection(application, session, None, signing_in=signing_in)

    office.gateway(opener=real)
    office.wait_state(account.id, "stopped", "other_telegram")
    assert not office.twin.call(lambda: len(office.twin.server.connections))
    assert row(office, account.id).session is not None


# --- session strings ------------------------------------------------------------------------------------------------


def test_a_digest_tells_keys_apart_whatever_address_stands_beside_them(office: Office) -> None:
    from switchboard.domain.telegram.sessions import pack  # noqa: PLC0415

    key, other = bytes(range(256)), bytes(reversed(range(256)))
    assert key_digest(pack(2, "127.0.0.1", 1, key)) == key_digest(pack(4, "2001:db8::1", 443, key))
    assert key_digest(pack(2, "127.0.0.1", 1, key)) != key_digest(pack(2, "127.0.0.1", 1, other))
    for text in ("", "1", "2" + "A" * 352, "1" + "A" * 352, "1" + "*" * 352, "1" + "A" * 100):
        with pytest.raises(InvalidInputError):
            key_digest(text)


def test_session_strings_are_those_of_telethon(office: Office) -> None:
    from telethon.crypto import AuthKey  # noqa: PLC0415
    from telethon.sessions import StringSession  # noqa: PLC0415

    from switchboard.domain.telegram.sessions import pack  # noqa: PLC0415

    for address in ("149.154.167.51", "2001:67c:4e8:f002::a"):
        session = StringSession()
        session.set_dc(4, address, 443)
        session.auth_key = AuthKey(bytes(range(256)))
        assert pack(4, address, 443, bytes(range(256))) == session.save()


def test_an_application_does_not_show_its_hash() -> None:
    assert HASH not in repr(Application(17, HASH))
