"""When mailings go out next, as the clocks of their organisation change zone."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard.db.models import Mailing
from switchboard.domain.organisations import timetable


def reschedule(session: Session, organisation_id: int, zone: str, now: datetime) -> None:
    """Compute the next times of an organisation's mailings by the clocks of `zone`; the caller has locked the organisation.

    One that is due already goes out first.
    """
    for mailing in session.scalars(
        select(Mailing).where(Mailing.organisation_id == organisation_id, Mailing.next_at > now)
    ):
        mailing.next_at = timetable.next_instant(mailing.rule, now, ZoneInfo(zone))
