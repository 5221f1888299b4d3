from __future__ import annotations

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from switchboard.errors import ConfigError, NotFoundError
from switchboard.services.file_links import FileLinks, LinkExpiredError
from tests.unit.routes.fakes import KEY, NOW

LINKS = FileLinks([KEY])


def _address(file_id: str = "f1", minutes: float = 5) -> str:
    return "/files/" + LINKS.sign(file_id, expires_at=NOW + timedelta(minutes=minutes))


def test_a_signed_link_gives_the_file_as_an_attachment_that_cannot_run(client: FlaskClient) -> None:
    answer = client.get(_address())
    assert (answer.status_code, answer.data) == (200, b"a\nb\nc\n")
    assert answer.headers["Content-Length"] == "6"
    assert answer.headers["Content-Disposition"] == (
        "attachment; filename*=UTF-8''%D0%9E%D1%82%D1%87%D1%91%D1%82%20%221%22.html"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_an_expired_link_is_410(client: FlaskClient) -> None:
    answer = client.get(_address(minutes=0))
    assert (answer.status_code, answer.content_type) == (410, "application/problem+json")


def test_a_link_that_is_not_ours_is_404(client: FlaskClient) -> None:
    good = _address()
    assert client.get(good[:-1] + ("A" if good[-1] != "A" else "B")).status_code == 404
    assert client.get("/files/anything").status_code == 404
    other = FileLinks(["z" * 32]).sign("f1", expires_at=NOW + timedelta(minutes=5))
    assert client.get(f"/files/{other}").status_code == 404


def test_a_link_to_a_file_that_is_gone_is_404(client: FlaskClient) -> None:
    assert client.get(_address("f2")).status_code == 404


def test_links_survive_a_rotation_of_the_keys_and_new_ones_use_the_newest() -> None:
    old = FileLinks(["old" * 12]).sign("f1", expires_at=NOW + timedelta(minutes=1))
    both = FileLinks(["new" * 12, "old" * 12])
    assert both.read(old, now=NOW) == "f1"
    fresh = both.sign("f1", expires_at=NOW + timedelta(minutes=1))
    assert FileLinks(["new" * 12]).read(fresh, now=NOW) == "f1"
    with pytest.raises(NotFoundError):
        FileLinks(["old" * 12]).read(fresh, now=NOW)


def test_a_link_ends_at_its_instant() -> None:
    signed = LINKS.sign("f1", expires_at=NOW)
    assert LINKS.read(signed, now=NOW - timedelta(seconds=1)) == "f1"
    with pytest.raises(LinkExpiredError):
        LINKS.read(signed, now=NOW)


def test_links_need_a_key() -> None:
    with pytest.raises(ConfigError, match="SECRET_KEYS"):
        FileLinks([])
