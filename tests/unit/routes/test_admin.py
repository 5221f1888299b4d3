from __future__ import annotations

from flask.testing import FlaskClient

from tests.unit.routes.fakes import ADMIN, FakeQueue


def test_accounts_are_listed_without_any_secret(client: FlaskClient) -> None:
    answer = client.get("/admin/calendar/accounts", headers=ADMIN)
    assert answer.status_code == 200
    (account,) = answer.get_json()["accounts"]
    assert account["state"] == "active"
    assert account["last_polled_at"] == "2026-11-21T08:59:00Z"
    assert not {"password", "token", "secret"} & set(account)


def test_a_poll_is_queued_by_name_and_answered_202_with_the_account_as_location(
    client: FlaskClient, queue: FakeQueue
) -> None:
    answer = client.post("/admin/calendar/accounts/7/poll", headers=ADMIN)
    assert answer.status_code == 202
    assert answer.get_json() == {"task": "calendar.accounts.poll", "task_id": "task-1"}
    assert queue.queued == [("calendar.accounts.poll", {"account_id": 7})]
    assert client.get(answer.headers["Location"], headers=ADMIN).get_json()["id"] == 7


def test_a_poll_of_an_unknown_account_is_404_and_queues_nothing(client: FlaskClient, queue: FakeQueue) -> None:
    assert client.post("/admin/calendar/accounts/8/poll", headers=ADMIN).status_code == 404
    assert queue.queued == []


def test_pages_of_deliveries_follow_each_other_without_gap_or_overlap(client: FlaskClient) -> None:
    seen: list[int] = []
    address = "/admin/deliveries?limit=4"
    while True:
        page = client.get(address, headers=ADMIN).get_json()
        seen += [row["id"] for row in page["deliveries"]]
        if page["next_before"] is None:
            break
        address = f"/admin/deliveries?limit=4&before={page['next_before']}"
    assert seen == list(range(10, 0, -1))


def test_deliveries_can_be_asked_by_state(client: FlaskClient) -> None:
    assert client.get("/admin/deliveries?state=DEAD", headers=ADMIN).get_json()["deliveries"] == []
    assert len(client.get("/admin/deliveries?state=SENT", headers=ADMIN).get_json()["deliveries"]) == 10


def test_a_page_has_an_upper_bound(client: FlaskClient) -> None:
    assert client.get("/admin/deliveries?limit=501", headers=ADMIN).status_code == 422
    assert client.get("/admin/audit?limit=0", headers=ADMIN).status_code == 422


def test_the_audit_log_is_shown_newest_first(client: FlaskClient) -> None:
    page = client.get("/admin/audit", headers=ADMIN).get_json()
    assert [entry["id"] for entry in page["entries"]] == [2, 1]
    assert page["next_before"] is None
