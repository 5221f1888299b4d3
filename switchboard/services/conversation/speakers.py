"""Who speaks: their language, their zone, and what they have connected."""

from __future__ import annotations

from dataclasses import dataclass

from switchboard.errors import TransientError
from switchboard.services.calendar.accounts import AccountView, CalendarAccounts, People
from switchboard.services.calendar.subscribers import Subscribers, SubscriberView
from switchboard.texts.connections import AccountFacts, paused_text
from switchboard.texts.locales import Texts


@dataclass(frozen=True, slots=True)
class Speaker:
    """A Mattermost user in a conversation. `subscriber` is None while no calendar is connected; `zone` may be empty then."""

    user_id: str
    texts: Texts
    zone: str
    subscriber: SubscriberView | None
    accounts: tuple[AccountView, ...]


class Speakers:
    """Finds out who speaks."""

    def __init__(self, accounts: CalendarAccounts, subscribers: Subscribers, people: People) -> None:
        self._accounts = accounts
        self._subscribers = subscribers
        self._people = people

    def find(self, user_id: str) -> Speaker:
        """The user as we know them; for a stranger the language and zone of their Mattermost profile."""
        subscriber = self._subscribers.find(user_id)
        if subscriber is not None:
            accounts = tuple(self._accounts.list_accounts(mattermost_user_id=user_id))
            return Speaker(user_id, Texts.for_locale(subscriber.locale), subscriber.zone, subscriber, accounts)
        try:
            person = self._people.find(user_id)
        except TransientError:
            person = None  # English is better than no answer
        return Speaker(
            user_id, Texts.for_locale(person.locale if person else ""), person.zone if person else "", None, ()
        )


def facts_of(account: AccountView, texts: Texts) -> AccountFacts:
    """An account for the texts."""
    return AccountFacts(
        login=account.login,
        server_url=account.server_url,
        paused=account.state != "active",
        reason=paused_text(is_owner_deactivated=account.is_owner_deactivated, texts=texts),
        watched=tuple(calendar.name for calendar in account.calendars if calendar.watched),
        unwatched=tuple(calendar.name for calendar in account.calendars if not calendar.watched),
        last_polled_at=account.last_polled_at,
        last_error=account.last_error or "",
    )
