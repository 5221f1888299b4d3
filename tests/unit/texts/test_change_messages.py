"""The message about changes: old and new side by side, one line a change, nobody's text in power."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from switchboard.domain.calendar.changes import Answer, AnswerKind, Change, ChangeKind, FieldChange, Slot
from switchboard.texts.changes import MAX_LINES, changes_message
from switchboard.texts.markdown import MAX_MESSAGE_CHARS

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def slot(day: int, hour: int, minutes: int = 60) -> Slot:
    start = datetime(2026, 11, day, hour, tzinfo=UTC)
    return Slot(start, start + timedelta(minutes=minutes))


def all_day(first: int, last: int) -> Slot:
    begin = datetime(2026, 11, first, 23, tzinfo=UTC) - timedelta(days=1)
    return Slot(begin, begin + timedelta(days=last - first), date(2026, 11, first), date(2026, 11, last))


PLAN = Change(ChangeKind.MOVED, "uid", "", "Plan", slot(24, 9), slot(24, 10))


def line(change: Change, locale: str = "en") -> str:
    [_, _, only] = changes_message([change], {}, NOW, BERLIN, locale).text.split("\n")
    return only


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (PLAN, "- **Plan**: Tuesday, November 24, ~~10:00–11:00~~ → 11:00–12:00"),
        (
            replace(PLAN, new=slot(25, 9)),
            "- **Plan**: ~~Tuesday, November 24, 10:00–11:00~~ → Wednesday, November 25, 10:00–11:00",
        ),
        (
            replace(PLAN, old=all_day(24, 25), new=all_day(24, 26)),
            "- **Plan**: ~~Tuesday, November 24, all day~~ → Tuesday, November 24 – Wednesday, November 25, all day",
        ),
        (
            replace(PLAN, new=slot(24, 22, 120)),
            "- **Plan**: Tuesday, November 24, ~~10:00–11:00~~ → 23:00–Nov 25 01:00",
        ),
        (
            replace(PLAN, series=True, count=5),
            "- **Plan** (the series): Tuesday, November 24, ~~10:00–11:00~~ → 11:00–12:00",
        ),
        (
            replace(PLAN, kind=ChangeKind.CANCELLED, new=None, series=True, count=5, whole=False),
            "- **Plan** (5 meetings of the series): ~~Tuesday, November 24, 10:00–11:00~~",
        ),
        (
            replace(PLAN, kind=ChangeKind.ADDED, old=None, place="Attic", url="https://meet.example.org/1"),
            "- **Plan**: Tuesday, November 24, 11:00–12:00 · Attic · [Join](https://meet.example.org/1)",
        ),
        (
            replace(
                PLAN,
                kind=ChangeKind.CHANGED,
                fields=(
                    FieldChange("title", "Idea", "Plan"),
                    FieldChange("place", "", "Attic"),
                    FieldChange("link", "https://a.example", ""),
                    FieldChange("description", "", ""),
                ),
            ),
            (
                "- ~~Idea~~ → **Plan**: Tuesday, November 24, 11:00–12:00 · place: – → Attic"
                " · link: ~~https\u200b://a.example~~ · the description was changed"
            ),
        ),
        (
            replace(
                PLAN,
                kind=ChangeKind.ANSWERED,
                answers=tuple(Answer(kind.value.title(), kind) for kind in AnswerKind),
            ),
            (
                "- **Plan**: Tuesday, November 24, 11:00–12:00 · Accepted accepted, Declined declined, Tentative may come,"
                " Invited was invited, Removed was taken off the list"
            ),
        ),
        (
            replace(
                PLAN,
                old=None,
                new=Slot(datetime(2027, 1, 4, 9, tzinfo=UTC), datetime(2027, 1, 4, 9, tzinfo=UTC)),
                kind=ChangeKind.ADDED,
                title=" ",
            ),
            "- **(no title)**: Monday, January 4 2027, 10:00",
        ),
    ],
)
def test_a_change_is_one_line(change: Change, expected: str) -> None:
    assert line(change) == expected


def test_each_language_has_its_own_words() -> None:
    cancelled = replace(PLAN, kind=ChangeKind.CANCELLED, new=None, series=True, count=2, whole=False)
    assert line(cancelled, "ru") == "- **Plan** (2 встречи серии): ~~вторник, 24 ноября, 10:00–11:00~~"
    assert line(cancelled, "uk") == "- **Plan** (2 зустрічі серії): ~~вівторок, 24 листопада, 10:00–11:00~~"


def test_other_peoples_words_have_no_power() -> None:
    text = line(
        replace(
            PLAN,
            title="~~@all~~ **x**\n# y",
            fields=(FieldChange("place", "[a](b)", "`c` @channel"), FieldChange("link", "", "javascript:x)")),
        )
    )
    assert "@all" not in text
    assert "@channel" not in text
    assert "](b)" not in text.replace("\\]", "")
    assert r"\~\~" in text
    assert "](javascript" not in text


def test_a_heading_after_a_list_is_no_part_of_its_last_item() -> None:
    changes = [PLAN, replace(PLAN, uid="other", kind=ChangeKind.CANCELLED, new=None)]
    lines = changes_message(changes, {}, NOW, BERLIN, "en").text.split("\n")
    assert lines[lines.index("**Cancelled**") - 1] == ""


def test_a_long_list_is_cut_and_counted_under_each_heading() -> None:
    many = [replace(PLAN, uid=str(number), title="t" * 300, place="#" * 300) for number in range(40)]
    many += [replace(one, kind=ChangeKind.ADDED, old=None) for one in many]
    text = changes_message(many, {ChangeKind.ADDED: 460}, NOW, BERLIN, "en").text
    assert len(text) <= MAX_MESSAGE_CHARS
    assert text.count("\n- **") == 2 * MAX_LINES
    assert [part for part in text.split("\n") if "more" in part] == ["- … and 25 more", "- … and 485 more"]
