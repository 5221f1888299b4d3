"""Signing in step by step, by the real client against a loopback Telegram; each refusal has its own answer."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from sandbox.telegram.world import Settings
from switchboard.db.models import TelegramAccount, TelegramSignIn
from switchboard.errors import ConflictError, InvalidInputError, RateLimitedError
from switchboard.services.telegram.accounts import AccountView
from tests.integration.telegram.conftest import BOX, Office, utc_now

PHONE = "+79161234567"


def add(office: Office, phone: str = PHONE) -> int:
    return office.accounts.add_user(phone, actor="test").id


def begin(office: Office, phone: str = PHONE) -> tuple[int, AccountView]:
    """An account whose code is on its way."""
    account_id = add(office, phone)
    return account_id, office.step(account_id, office.sign_ins.request_code(account_id, actor="test"))


def submit(office: Office, account_id: int, code: str) -> AccountView:
    return office.step(account_id, office.sign_ins.submit_code(account_id, code, actor="test"))


def right_code(office: Office, phone: str = PHONE) -> str:
    return office.twin.codes(phone)[-1].code


def wrong_code(office: Office) -> str:
    return "11111" if right_code(office) != "11111" else "22222"


def secrets_kept(office: Office, account_id: int) -> set[str]:
    """Columns of the sign-in that hold a secret."""
    with office.database.read() as session:
        row = session.get_one(TelegramSignIn, account_id)
        return {name for name in ("session", "code_hash", "input", "hint") if getattr(row, name) is not None}


def test_a_number_with_a_code_alone_comes_online(office: Office) -> None:
    person = office.twin.add_person("Ann", "Lee", phone=PHONE, username="ann")
    office.gateway()

    account_id, view = begin(office)
    assert view.state == "code_sent"
    assert view.sign_in is not None
    assert (view.sign_in.step, view.sign_in.sent_by, view.sign_in.code_length) == ("code", "sms", 5)
    assert view.sign_in.expires_at is not None
    assert view.sign_in.problem is None
    assert secrets_kept(office, account_id) == {"session", "code_hash"}

    view = submit(office, account_id, right_code(office))
    assert view.sign_in is not None
    assert (view.sign_in.step, view.sign_in.problem) == ("ended", None)
    view = office.wait_state(account_id, "online")
    assert (view.own_id, view.own_name, view.own_username) == (person.id, "Ann Lee", "ann")
    assert secrets_kept(office, account_id) == set()


def test_everything_secret_is_sealed_in_the_rows(office: Office) -> None:
    office.twin.add_person("Ann", phone=PHONE, password="open sesame", hint="a cave")
    office.gateway()
    account_id, _ = begin(office)
    submit(office, account_id, right_code(office))
    with office.database.read() as session:
        account = session.get_one(TelegramAccount, account_id)
        row = session.get_one(TelegramSignIn, account_id)
        for sealed in (account.api_hash, row.session, row.code_hash, row.hint):
            assert sealed is not None
            assert BOX.decrypt(sealed)


def test_a_password_is_the_third_step_and_its_hint_is_shown(office: Office) -> None:
    office.twin.add_person("Ann", phone=PHONE, password="open sesame", hint="a cave")
    office.gateway()
    account_id, _ = begin(office)

    view = submit(office, account_id, right_code(office))
    assert view.state == "password_needed"
    assert view.sign_in is not None
    assert (view.sign_in.step, view.sign_in.hint) == ("password", "a cave")

    view = office.step(account_id, office.sign_ins.submit_password(account_id, "open says me", actor="test"))
    assert view.sign_in is not None
    assert view.sign_in.problem == "password_wrong"
    assert view.state == "password_needed"

    office.step(account_id, office.sign_ins.submit_password(account_id, "open sesame", actor="test"))
    office.wait_state(account_id, "online")


def test_a_sign_in_lives_through_a_restart_of_the_gateway_between_all_its_steps(office: Office) -> None:
    office.twin.add_person("Ann", phone=PHONE, password="open sesame")
    office.gateway()
    account_id, _ = begin(office)
    office.hosts.pop().stop()
    office.gateway()
    assert submit(office, account_id, right_code(office)).state == "password_needed"
    office.hosts.pop().stop()
    office.gateway()
    office.step(account_id, office.sign_ins.submit_password(account_id, "open sesame", actor="test"))
    office.wait_state(account_id, "online")


def test_a_step_asked_for_while_no_gateway_runs_is_done_when_one_does(office: Office) -> None:
    office.twin.add_person("Ann", phone=PHONE)
    account_id = add(office)
    number = office.sign_ins.request_code(account_id, actor="test")
    assert office.sign_ins.wait(account_id, number, seconds=0.3) is None
    office.gateway()
    assert office.step(account_id, number).state == "code_sent"


def test_a_wrong_code_may_be_corrected_and_too_many_end_the_sign_in(office: Office) -> None:
    office.twin.add_person("Ann", phone=PHONE)
    office.gateway()
    account_id, _ = begin(office)

    view = submit(office, account_id, wrong_code(office))
    assert view.sign_in is not None
    assert (view.state, view.sign_in.step, view.sign_in.problem) == ("code_sent", "code", "code_wrong")
    for _ in range(4):
        view = submit(office, account_id, wrong_code(office))
    assert view.sign_in is not None
    assert (view.state, view.sign_in.step, view.sign_in.problem) == ("new", "ended", "too_many_attempts")
    assert secrets_kept(office, account_id) == set()
    with pytest.raises(ConflictError, match="request a code"):
        office.sign_ins.submit_code(account_id, right_code(office), actor="test")


def test_an_expired_code_ends_the_sign_in_and_a_new_one_begins_it_again(office: Office) -> None:
    office.twin.add_person("Ann", phone=PHONE)
    office.gateway()
    account_id, _ = begin(office)
    office.twin.call(lambda: setattr(office.twin.world.codes[-1], "date", 0))
    view = submit(office, account_id, right_code(office))
    assert view.sign_in is not None
    assert (view.state, view.sign_in.problem) == ("new", "code_expired")

    office.step(account_id, office.sign_ins.request_code(account_id, actor="test"))
    submit(office, account_id, right_code(office))
    office.wait_state(account_id, "online")


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        ("banned", "phone_banned"),
        ("nobody", "phone_unoccupied"),
        ("flood", "flood"),
        ("too many codes", "too_many_codes"),
        ("api", "api_refused"),
        ("cut", "unreachable"),
    ],
)
def test_each_refusal_says_what_it_is(office: Office, prepare: str, problem: str) -> None:
    twin = office.twin
    twin.add_person("Ann", phone=PHONE)
    if prepare == "banned":
        twin.call(lambda: twin.world.banned_phones.add(PHONE.lstrip("+")))
    elif prepare == "flood":
        twin.faults.add("error", method="auth.sendCode", name="FLOOD_WAIT_420", count=1)
    elif prepare == "too many codes":
        twin.call(lambda: setattr(twin.world, "settings", Settings(codes_per_day=0)))
    elif prepare == "api":
        twin.call(twin.world.apps.clear)
    elif prepare == "cut":
        twin.faults.add("cut", method="auth.sendCode", count=1)
    office.gateway()

    account_id, view = begin(office, "+79160000000" if prepare == "nobody" else PHONE)
    if prepare == "nobody":
        view = submit(office, account_id, right_code(office, "+79160000000"))
    assert view.state == "new"
    assert view.sign_in is not None
    assert view.sign_in.problem == problem
    assert view.sign_in.problem_text
    if prepare == "flood":
        assert view.sign_in.retry_at is not None
        assert utc_now() + timedelta(seconds=300) < view.sign_in.retry_at < utc_now() + timedelta(seconds=421)


def test_the_code_is_sent_another_way_when_its_time_has_come(office: Office) -> None:
    office.twin.add_person("Ann", phone=PHONE)
    office.twin.session_string("Ann")  # another device: the code goes to the app
    office.gateway()
    account_id, view = begin(office)
    assert view.sign_in is not None
    assert view.sign_in.sent_by == "app"
    assert view.sign_in.resend_at is not None
    with pytest.raises(RateLimitedError) as caught:
        office.sign_ins.resend(account_id, actor="test")
    assert caught.value.retry_after_s is not None
    office.twin.world.settings.code_timeout_s = 0
    with office.database.write() as session:
        session.execute(update(TelegramSignIn).values(resend_at=utc_now()))

    view = office.step(account_id, office.sign_ins.resend(account_id, actor="test"))
    assert view.sign_in is not None
    assert view.sign_in.sent_by == "sms"
    with pytest.raises(ConflictError, match="no other way"):
        office.sign_ins.resend(account_id, actor="test")
    submit(office, account_id, right_code(office))
    office.wait_state(account_id, "online")


def test_a_cancelled_sign_in_leaves_nothing_and_its_code_is_worthless(office: Office) -> None:
    office.twin.add_person("Ann", phone=PHONE)
    office.gateway()
    account_id, _ = begin(office)
    view = office.step(account_id, office.sign_ins.cancel(account_id, actor="test"))
    assert view.sign_in is not None
    assert (view.state, view.sign_in.step, view.sign_in.problem) == ("new", "ended", "cancelled")
    assert secrets_kept(office, account_id) == set()
    assert office.twin.codes(PHONE)[-1].cancelled


def test_what_is_not_finished_in_time_is_thrown_away(office: Office) -> None:
    office.twin.add_person("Ann", phone=PHONE)
    office.gateway()
    account_id, _ = begin(office)
    with office.database.write() as session:
        session.execute(update(TelegramSignIn).values(expires_at=utc_now() - timedelta(seconds=1)))
    with pytest.raises(ConflictError, match="request a code"):
        office.sign_ins.submit_code(account_id, right_code(office), actor="test")
    view = office.wait_state(account_id, "new", "sign_in_expired")
    assert view.sign_in is not None
    assert view.sign_in.problem == "expired"
    assert secrets_kept(office, account_id) == set()


def test_steps_out_of_order_are_refused_with_what_is_due(office: Office) -> None:
    office.twin.add_person("Ann", phone=PHONE)
    account_id = add(office)
    with pytest.raises(ConflictError, match="request a code"):
        office.sign_ins.submit_code(account_id, "12345", actor="test")
    office.sign_ins.request_code(account_id, actor="test")
    with pytest.raises(ConflictError, match="still under way"):
        office.sign_ins.request_code(account_id, actor="test")
    office.gateway()
    office.wait_state(account_id, "code_sent")
    with pytest.raises(ConflictError, match="the code is asked for"):
        office.sign_ins.submit_password(account_id, "x", actor="test")
    with pytest.raises(InvalidInputError, match="code"):
        office.sign_ins.submit_code(account_id, "--", actor="test")
    submit(office, account_id, right_code(office))
    with pytest.raises(ConflictError, match="has a session"):
        office.sign_ins.request_code(account_id, actor="test")


def test_a_code_that_took_effect_before_the_gateway_died_is_not_refused(office: Office) -> None:
    """The answer was not stored: the step is done again, under a session that is signed in already."""
    office.twin.add_person("Ann", phone=PHONE)
    host = office.gateway()
    account_id, _ = begin(office)
    with office.database.read() as session:
        before = session.get_one(TelegramSignIn, account_id)
        kept = {name: getattr(before, name) for name in ("session", "code_hash", "step", "expires_at")}
    submit(office, account_id, code := right_code(office))
    host.stop()
    office.hosts.clear()
    with office.database.write() as session:
        row = session.get_one(TelegramSignIn, account_id)
        for name, value in kept.items():
            setattr(row, name, value)
        account = session.get_one(TelegramAccount, account_id)
        account.session, account.state = None, "code_sent"
    office.gateway()
    submit(office, account_id, code)
    office.wait_state(account_id, "online")


def test_every_step_stands_in_the_audit_log_without_its_content(office: Office) -> None:
    from switchboard.db.models import AuditEntry  # noqa: PLC0415

    office.twin.add_person("Ann", phone=PHONE)
    office.gateway()
    account_id, _ = begin(office)
    code = right_code(office)
    submit(office, account_id, code)
    with office.database.read() as session:
        entries = list(session.scalars(select(AuditEntry).order_by(AuditEntry.id)))
    assert [entry.action for entry in entries] == ["telegram.add", "telegram.sign_in.send", "telegram.sign_in.code"]
    assert all(code not in str(entry.details) and PHONE not in str(entry.details) for entry in entries)
