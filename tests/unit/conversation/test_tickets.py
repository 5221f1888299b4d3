"""Tickets in buttons and dialogs: ours, for one person, until a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.errors import ConfigError
from switchboard.services.conversation.answers import Step
from switchboard.services.conversation.tickets import (
    BadTicketError,
    ExpiredTicketError,
    ForeignTicketError,
    Ticket,
    Tickets,
)

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
TICKET = Ticket(Step.DISCONNECT, "u1", NOW + timedelta(minutes=10), {"account": "7"})
TICKETS = Tickets(["k" * 32])


def test_a_ticket_comes_back_as_it_was_signed() -> None:
    assert TICKETS.read(TICKETS.sign(TICKET), user_id="u1", now=NOW) == TICKET


def test_a_ticket_is_for_one_person() -> None:
    with pytest.raises(ForeignTicketError):
        TICKETS.read(TICKETS.sign(TICKET), user_id="u2", now=NOW)


@pytest.mark.parametrize("late", [timedelta(minutes=10), timedelta(days=1)])
def test_a_ticket_ends(late: timedelta) -> None:
    with pytest.raises(ExpiredTicketError):
        TICKETS.read(TICKETS.sign(TICKET), user_id="u1", now=NOW + late)


def test_every_changed_character_breaks_a_ticket() -> None:
    signed = TICKETS.sign(TICKET)
    for position in range(len(signed) - 1):  # the last one holds unused bits of base64
        other = "A" if signed[position] != "A" else "B"
        with pytest.raises(BadTicketError):
            TICKETS.open(signed[:position] + other + signed[position + 1 :])


@given(st.text(max_size=200))
def test_no_text_breaks_the_reading(text: str) -> None:
    with pytest.raises(BadTicketError):
        TICKETS.open(text)


def test_tickets_of_older_keys_are_good_until_the_key_is_gone() -> None:
    old, both = Tickets(["o" * 32]), Tickets(["n" * 32, "o" * 32])
    assert both.open(old.sign(TICKET)) == TICKET
    with pytest.raises(BadTicketError):
        old.open(both.sign(TICKET))
    with pytest.raises(ConfigError):
        Tickets([])
