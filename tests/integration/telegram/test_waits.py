"""What Telegram makes accounts wait for: shown to operators, who may end the limit on messages to strangers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from api import create_app
from switchboard.db.models import AuditEntry, Delivery, DeliveryState, TelegramWait
from switchboard.errors import ConflictError, NotFoundError
from tests.integration.command_line import forget_services
from tests.integration.telegram.conftest import Office, utc_now
from tests.integration.telegram.test_cli import Run, run
from tests.integration.telegram.test_outbox import Sender
from tests.unit.routes.fakes import ADMIN, FakeQueue, FakeServices, settings

__all__ = ["run"]


def wait(
    office: Office, account_id: int, method: str = "first_contact", *, left_s: float = 1500, times: int = 4
) -> None:
    with office.database.write() as session:
        until = utc_now() + timedelta(seconds=left_s)
        session.add(TelegramWait(account_id=account_id, method=method, not_before=until, times=times))


@pytest.fixture
def account_id(office: Office) -> int:
    office.twin.add_person("Ann")
    return office.add_signed_in("Ann").id


def test_a_limit_on_strangers_is_shown_with_its_beginning_and_its_end(office: Office, account_id: int) -> None:
    wait(office, account_id)  # the fourth time in a row: half an hour
    (view,) = office.accounts.get(account_id).waits
    assert (view.method, view.times) == ("first_contact", 4)
    assert view.since is not None
    assert view.until - view.since == timedelta(minutes=30)
    assert "4 times in a row: they wait" in view.text


@pytest.mark.parametrize(
    ("left_s", "times", "words"),
    [(80_000, 6, "they are refused"), (-5, 2, "a try"), (5, 1, "once: they wait")],
)
def test_a_limit_on_strangers_says_what_becomes_of_their_messages(
    office: Office, account_id: int, left_s: float, times: int, words: str
) -> None:
    wait(office, account_id, left_s=left_s, times=times)
    (view,) = office.accounts.list_accounts()[0].waits
    assert words in view.text


def test_a_flood_wait_of_a_method_is_shown_until_it_ends_and_our_own_pace_is_not(
    office: Office, account_id: int
) -> None:
    wait(office, account_id, "messages.sendMessage", left_s=60, times=0)
    wait(office, account_id, "messages.sendMedia", left_s=-1, times=0)
    wait(office, account_id, left_s=60, times=0)
    (view,) = office.accounts.get(account_id).waits
    assert (view.method, view.since, view.times) == ("messages.sendMessage", None, 0)


def test_an_operator_ends_the_limit_and_what_waited_goes_out(office: Office) -> None:
    sender = Sender(office)
    wait(office, sender.account.id, left_s=3000, times=5)
    key = sender.enter("hello")[0]
    host = sender.start()
    sender.wait_row(key, lambda row: row.next_attempt_at - utc_now() > timedelta(minutes=30))
    office.accounts.allow_strangers(sender.account.id, actor="ann")
    host.look(sender.account.id)
    sender.wait_row(key, lambda row: row.state == DeliveryState.SENT)
    assert office.accounts.get(sender.account.id).waits == ()
    assert office.wait_state(sender.account.id, "online")
    with office.database.read() as session:
        (entry,) = session.scalars(select(AuditEntry).where(AuditEntry.action == "telegram.allow_strangers"))
    assert (entry.actor, entry.subject) == ("ann", f"telegram_account:{sender.account.id}")


def test_what_waits_for_another_reason_or_account_goes_on_waiting(office: Office) -> None:
    sender = Sender(office)
    wait(office, sender.account.id)
    later = utc_now() + timedelta(hours=5)
    held, quiet, other = sender.enter("held")[0], sender.enter("quiet")[0], sender.enter("other")[0]
    with office.database.write() as session:
        for row in session.scalars(select(Delivery)):
            row.next_attempt_at = later
            row.claimed_until = later if row.key == quiet else None
            if row.key == other:
                row.sender = sender.account.id + 1
    office.accounts.allow_strangers(sender.account.id, actor="ann")
    assert sender.row(held).next_attempt_at <= utc_now()
    assert [sender.row(key).next_attempt_at for key in (quiet, other)] == [later, later]


def test_there_is_nothing_to_end_where_telegram_set_no_limit(office: Office, account_id: int) -> None:
    wait(office, account_id, times=0)
    with pytest.raises(ConflictError, match="has not limited"):
        office.accounts.allow_strangers(account_id, actor="ann")
    with pytest.raises(NotFoundError):
        office.accounts.allow_strangers(99, actor="ann")


def test_over_http_the_limit_is_shown_and_ended_once(office: Office, account_id: int) -> None:
    wait(office, account_id)
    services = FakeServices(telegram_accounts=office.accounts, telegram_sign_ins=office.sign_ins)
    client = create_app(settings(), services, FakeQueue()).test_client()
    address = f"/telegram/accounts/{account_id}"
    (shown,) = client.get(address, headers=ADMIN).get_json()["waits"]
    assert (shown["method"], shown["times"]) == ("first_contact", 4)
    ended = client.post(f"{address}/allow-strangers", headers=ADMIN)
    assert (ended.status_code, ended.get_json()["waits"]) == (200, [])
    assert client.post(f"{address}/allow-strangers", headers=ADMIN).status_code == 409
    assert client.post(f"{address}/allow-strangers").status_code == 401


def test_the_commands_show_the_limit_and_end_it(office: Office, account_id: int, run: Run) -> None:
    number = str(account_id)
    assert "lets it wait for nothing" in run("show", number).out
    wait(office, account_id)
    assert "4 times in a row" in " ".join(run("list").out.split())
    shown = run("show", number)
    assert "4 times in a row" in " ".join(shown.out.split())
    assert f"telegram allow-strangers {number}" in shown.out
    assert "writes to strangers again" in run("allow-strangers", number).out
    assert run("allow-strangers", number).status == 1


def test_doctor_has_a_line_for_an_account_that_may_not_write_to_strangers(
    office: Office,
    account_id: int,
    run: Run,
) -> None:
    from switchboard import wiring  # noqa: PLC0415
    from switchboard.services.doctor import examine  # noqa: PLC0415

    name = f"telegram account {account_id}: strangers"

    def lines() -> list[tuple[str, str, str]]:
        try:
            checks = [check for check in wiring.doctor_checks() if check.name == name]
            return [(found.verdict, found.detail, found.advice) for found in examine(checks)]
        finally:
            forget_services()

    assert lines() == []
    wait(office, account_id)
    ((verdict, detail, advice),) = lines()
    assert verdict == "warning"
    assert "Since 20" in detail
    assert "@SpamBot" in advice
    assert f"allow-strangers {account_id}" in advice
