"""Work that a person asked for and that needs the calendar server: done by tasks, answered when it is done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from switchboard.errors import InvalidInputError, NotFoundError, TransientError
from switchboard.locks import LockFactory
from switchboard.services.calendar.accounts import AccountView, CalendarAccounts
from switchboard.services.calendar.polling import CalendarPolling, PollOutcome
from switchboard.services.conversation.answers import Answer
from switchboard.services.conversation.connections import server_problem_text
from switchboard.services.conversation.menus import connect_first
from switchboard.services.conversation.replies import ReplyAddress
from switchboard.services.conversation.speakers import Speakers, facts_of
from switchboard.texts import connections as words
from switchboard.texts.locales import Texts
from switchboard.texts.markdown import escape

_FAILURES = frozenset({PollOutcome.PARTLY, PollOutcome.FAILED})


class Answering(Protocol):
    """switchboard.services.conversation.replies.Replies."""

    def unseal(self, sealed: str) -> ReplyAddress: ...

    def send(self, address: ReplyAddress, answer: Answer) -> None: ...


class Errands:
    """Each ends with an answer to the address where the person waits."""

    def __init__(
        self,
        accounts: CalendarAccounts,
        polling: CalendarPolling,
        speakers: Speakers,
        replies: Answering,
        locks: LockFactory,
        clock: Callable[[], datetime],
    ) -> None:
        self._accounts = accounts
        self._polling = polling
        self._speakers = speakers
        self._replies = replies
        self._locks = locks
        self._clock = clock

    def refresh(self, user_id: str, reply: str) -> list[int]:
        """Poll the person's accounts now and say what changed; returns the accounts to expand.

        LockBusyError while another poll of an account is running: the task tries again.
        """
        speaker = self._speakers.find(user_id)
        lines, expand, has_changes = [], [], False
        for account in speaker.accounts:
            with self._locks.require(f"calendar-account:{account.id}", lease_s=180):
                result = self._polling.poll(account.id)
            problem = ""
            if result.outcome is PollOutcome.PAUSED or (
                result.outcome is PollOutcome.SKIPPED and account.state != "active"
            ):
                problem = facts_of(account, speaker.texts).reason
            elif result.outcome in _FAILURES:
                problem = escape(result.error or "?", words.MAX_DETAIL_CHARS)
            elif result.outcome is PollOutcome.DEFERRED:
                problem = words.server_busy_text(result.retry_after_s, speaker.texts)
            lines.append(words.refreshed_text(account.login, result.changed, result.removed, problem, speaker.texts))
            has_changes = has_changes or result.changed > 0 or result.removed > 0
            if result.needs_expansion:
                expand.append(account.id)
        if has_changes and speaker.subscriber is not None and speaker.subscriber.changes_enabled:
            lines.append(words.changes_follow_text(speaker.texts))
        answer = Answer("\n".join(lines)) if speaker.accounts else connect_first(speaker)
        self._replies.send(self._replies.unseal(reply), answer)
        return expand

    def check_account(self, user_id: str, reply: str) -> None:
        """Ask the servers of the person's accounts whether they accept us, and tell."""
        speaker = self._speakers.find(user_id)
        parts = [self._checked(account, speaker.texts) for account in speaker.accounts]
        answer = Answer("\n\n".join(parts)) if parts else connect_first(speaker)
        self._replies.send(self._replies.unseal(reply), answer)

    def _checked(self, account: AccountView, texts: Texts) -> str:
        problem, found = "", account.calendars
        try:
            found = self._accounts.refresh_calendars(account.id)
        except (InvalidInputError, NotFoundError, TransientError) as error:
            problem = server_problem_text(error, texts)
        left_out = self._polling.left_out(account.id)
        return words.account_check_text(
            facts_of(account, texts),
            accepted=not problem,
            problem=problem,
            new_calendars=len(found) > len(account.calendars),
            left_out=left_out.count,
            reasons=left_out.reasons,
            now=self._clock(),
            texts=texts,
        )
