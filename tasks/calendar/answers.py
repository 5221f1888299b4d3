"""Answers to invitations."""

from __future__ import annotations

from switchboard import wiring
from tasks.app import app
from tasks.calendar.occurrences import expand


@app.task(name="calendar.answers.write", soft_time_limit=50)
def write(*, answer_id: int) -> str:
    """Write an answer to the calendar server and show it in its message; return how it stands."""
    report = wiring.answering().write(answer_id)
    for account_id in report.expand:
        expand.delay(account_id=account_id)
    return report.state


@app.task(name="calendar.answers.scan_open", soft_time_limit=10, only_one=True)
def scan_open() -> int:
    """Queue the answers with something left to write or to show; return how many."""
    answer_ids = wiring.answering().scan_open()
    for answer_id in answer_ids:
        write.delay(answer_id=answer_id)
    return len(answer_ids)
