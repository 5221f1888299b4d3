"""When a mailing goes out: a cron rule by the clocks of a zone, given as instants in UTC.

The rule is read as Debian's cron reads it (crontab(5)): five fields, names of days and months, `L` for the last day of the
month, `MON#1` for the first Monday. Other than there, every rule follows the clocks, also one with `*` in minutes or hours: a
time that the clocks skip counts as the first one after the gap, one that comes twice counts the first time, and what then
falls together is one time. So nobody gets a mailing twice, or misses a day's, because clocks change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from switchboard.domain.calendar.wall_clock import to_utc
from switchboard.errors import InvalidInputError

MOST_RULE_CHARS = 100
LEAST_BETWEEN = timedelta(minutes=15)
GRACE = timedelta(hours=2)
"""A time that was missed is made up for so long, and then left out."""
MOST_COUNTED = 10_000
"""Of times that were left out; a hundred days of quarters of an hour."""
_LOOKED_AT = 400  # a day that keeps the least distance has 96 times, so some days that follow each other are among them
_LOOKED_AHEAD = timedelta(days=365 * 10)
_MINUTE = timedelta(minutes=1)
_EXAMPLE = "for example `0 9 * * MON` for Mondays at nine"
_FIELDS = {
    "minute": "the minute (first field) is 0 to 59",
    "hour": "the hour (second field) is 0 to 23",
    "day-of-month": "the day of the month (third field) is 1 to 31, L or LW",
    "month": "the month (fourth field) is 1 to 12 or JAN to DEC",
    "day-of-week": "the day of the week (fifth field) is 0 to 7 (0 and 7 are Sunday) or SUN to SAT",
}


def check(rule: str, now: datetime, zone: ZoneInfo) -> str:
    """The rule with single spaces; InvalidInputError says what is wrong with it, or that it comes too often or never."""
    rule = " ".join(rule.upper().split())
    if len(rule) > MOST_RULE_CHARS:
        raise _refused(f"a rule has at most {MOST_RULE_CHARS} characters")
    fields = rule.split()
    if len(fields) != 5:
        raise _refused(f"a rule has five fields: minute, hour, day of the month, month, day of the week; {_EXAMPLE}")
    try:
        times = CronSim(rule, _wall(now, zone))
    except CronSimError as error:
        raise _refused(_explained(fields, str(error))) from None
    if next(instants(rule, now, zone), None) is None:
        raise _refused("no day fits this rule: it would never go out")
    if _comes_too_often(times, _wall(now, zone)):
        raise _refused(f"a mailing goes out every {LEAST_BETWEEN.seconds // 60} minutes at most; {_EXAMPLE}")
    return rule


def instants(rule: str, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """The times of a rule that passed `check` behind `after`, each once and in order; they end where none comes in 50 years."""
    last = after
    for wall in CronSim(rule, _wall(after, zone) - _MINUTE):
        instant = _instant(wall, zone)
        if instant > last:
            yield instant
            last = instant


def next_instant(rule: str, after: datetime, zone: ZoneInfo) -> datetime | None:
    """The first of them."""
    return next(instants(rule, after, zone), None)


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be sent now: `at` is the time of the rule, None for nothing; `skipped` times, the first at `skipped_from`,
    are left out.
    """

    at: datetime | None
    skipped: int
    skipped_from: datetime | None


def due(rule: str, since: datetime, now: datetime, zone: ZoneInfo) -> Due:
    """Of the times from `since`, which is one itself, to `now`: the latest, unless it is older than GRACE; never more."""
    recent = [since, *_until(now, rule, max(since, now - GRACE), zone)]
    at = recent[-1] if recent[-1] >= now - GRACE else None
    passed = [since, *islice(_until(now, rule, since, zone), MOST_COUNTED)]
    skipped = [one for one in passed if one != at][:MOST_COUNTED]
    return Due(at, len(skipped), skipped[0] if skipped else None)


def _until(end: datetime, rule: str, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    return takewhile(lambda instant: instant <= end, instants(rule, after, zone))


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0)


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """Of a wall time: the first of two, and for one that is skipped the first instant after the gap."""
    while True:
        instant = to_utc(wall.date(), wall.time(), zone)
        if instant.astimezone(zone).replace(tzinfo=None) == wall:
            return instant
        wall += _MINUTE


def _comes_too_often(times: CronSim, begin: datetime) -> bool:
    for one, following in pairwise(islice(times, _LOOKED_AT)):
        if following - one < LEAST_BETWEEN:
            return True
        if following > begin + _LOOKED_AHEAD:
            break
    return False


def _explained(fields: list[str], complaint: str) -> str:
    field = complaint.removeprefix("Bad ")
    if field == "day-of-month" and _stands_alone(fields):
        return "no month of this rule has such a day: it would never go out"
    return f"{_FIELDS.get(field, 'the rule cannot be read')}; lists 1,3, ranges 1-5 and steps */15 are possible; {_EXAMPLE}"


def _stands_alone(fields: list[str]) -> bool:
    """Whether the day of the month is one for itself, whatever the months."""
    try:
        CronSim(" ".join([*fields[:3], "*", fields[4]]), datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError:
        return False
    return True


def _refused(message: str) -> InvalidInputError:
    return InvalidInputError(message, field="rule")
