"""People as Mattermost knows them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from switchboard.clients.mattermost import MattermostClient
from switchboard.errors import NotFoundError
from switchboard.services.calendar.accounts import Person

USER_ID = re.compile(r"[a-z0-9]{26}")  # a Mattermost id; a name may look like one, so both are tried


class MattermostPeople:
    """Implements People and Registry over the Mattermost server."""

    def __init__(self, client: MattermostClient) -> None:
        self._client = client

    def find(self, username_or_id: str) -> Person | None:
        """The active user with this id, name or @name; None when there is none, or only a bot or a deactivated one."""
        by_id = [self._client.user] if USER_ID.fullmatch(username_or_id) else []
        for read in (*by_id, self._client.user_by_username):
            try:
                user = read(username_or_id)
            except NotFoundError:
                continue
            if user.deactivated or user.is_bot:
                return None
            return Person(
                id=user.id,
                username=user.username,
                email=user.email,
                locale=user.locale,
                zone=user.zone,
                direct_channel_id=self._client.open_direct_channel(self._client.me().id, user.id),
            )
        return None

    def deactivated(self, user_ids: Sequence[str]) -> Mapping[str, bool]:
        """See Registry: one call."""
        return {user.id: user.deactivated for user in self._client.users(user_ids)}
