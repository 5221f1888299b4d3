"""Messages as direct posts of the bot in Mattermost.

Exactly once: the server remembers `pending_post_id` for 30 s, and every post carries the delivery's key in its `props`,
by which a post whose answer was lost is found again however late (docs/explanation/delivery-ledger.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from threading import Lock
from typing import Any

from switchboard.clients.mattermost import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, MattermostClient
from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.errors import NotFoundError
from switchboard.services.channels.channel import Rendered
from switchboard.texts.markdown import Message

DELIVERY_PROP = "switchboard_delivery"
CLOCK_SKEW = timedelta(minutes=10)  # how far the server's clock may differ from ours when posts are looked up


class MattermostChannel:
    """Implements Channel for Mattermost; a recipient is a Mattermost user id, an address a direct channel's id."""

    name = "mattermost"
    call_timeout = timedelta(seconds=2 * (CONNECT_TIMEOUT_S + READ_TIMEOUT_S))  # opening the channel, then the post
    settle = timedelta(seconds=15)

    def __init__(self, client: MattermostClient) -> None:
        self._client = client
        self._bot_id: str | None = None
        self._bot_id_lock = Lock()

    def open(self, user_id: str) -> str:
        """Id of the bot's direct channel with a user."""
        return self._client.open_direct_channel(self._own_id(), user_id)

    def send(self, delivery: ClaimedDelivery, rendered: Rendered) -> str:
        """See Channel. An address that the server does not know any more is looked up anew."""
        if rendered.address is not None:
            try:
                return self._post(rendered.address, delivery, rendered.message)
            except NotFoundError:
                pass  # a definite answer: nothing was posted
        return self._post(self.open(delivery.recipient), delivery, rendered.message)

    def find(self, delivery: ClaimedDelivery) -> str | None:
        """See Channel: reads the direct channel's posts since the first attempt and compares the key in their props."""
        if delivery.first_attempt_at is None:
            return None
        bot_id = self._own_id()
        since = delivery.first_attempt_at - CLOCK_SKEW
        for post in self._client.posts_since(self.open(delivery.recipient), since):
            if post.user_id == bot_id and post.props.get(DELIVERY_PROP) == delivery.key:
                return post.id
        return None

    def _post(self, channel_id: str, delivery: ClaimedDelivery, message: Message) -> str:
        return self._client.create_post(
            channel_id,
            message.text,
            props=_props(delivery.key, message),
            pending_post_id=f"{self._own_id()}:{hashlib.sha256(delivery.key.encode()).hexdigest()[:32]}",
        )

    def _own_id(self) -> str:
        with self._bot_id_lock:
            if self._bot_id is None:
                self._bot_id = self._client.me().id
            return self._bot_id


def _props(key: str, message: Message) -> Mapping[str, Any]:
    """Links become attachment titles: every server version draws them large and clickable.

    An attachment action cannot open an address by itself; it calls an integration
    (https://developers.mattermost.com/integrate/reference/message-attachments/).
    """
    props: dict[str, Any] = {DELIVERY_PROP: key}
    if message.buttons:
        props["attachments"] = [
            {"fallback": f"{button.text}: {button.url}", "title": button.text, "title_link": button.url}
            for button in message.buttons
        ]
    return props
