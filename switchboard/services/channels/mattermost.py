"""Messages as direct posts of the bot in Mattermost.

Exactly once: the server remembers `pending_post_id` for 30 s, and every post carries the delivery's key in its `props`,
by which a post whose answer was lost is found again however late (docs/explanation/delivery-ledger.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from threading import Lock
from typing import Any

from switchboard.clients.mattermost import MattermostClient
from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.errors import NotFoundError, RemoteRejectedError
from switchboard.services.channels.channel import Rendered
from switchboard.services.conversation.answers import Answer, ButtonRow
from switchboard.services.conversation.drawing import Drawing
from switchboard.texts.markdown import Message

DELIVERY_PROP = "switchboard_delivery"
CLOCK_SKEW = timedelta(minutes=10)  # how far the server's clock may differ from ours when posts are looked up
REMEMBERED_ADDRESSES = 20_000


class MattermostChannel:
    """Implements Channel for Mattermost; a recipient is a Mattermost user id, an address a direct channel's id."""

    name = "mattermost"
    settle = timedelta(seconds=15)

    def __init__(self, client: MattermostClient, drawing: Drawing | None = None) -> None:
        """`drawing` makes the buttons that call us back; without it messages have none."""
        self._client = client
        self._drawing = drawing
        self._bot_id: str | None = None
        self._bot_id_lock = Lock()
        self._addresses: dict[str, str] = {}  # user id -> direct channel, so that a message costs one call, not two

    def open(self, user_id: str) -> str:
        """Id of the bot's direct channel with a user, asked of the server; remembered for the next `send`."""
        address = self._client.open_direct_channel(self._own_id(), user_id)
        if len(self._addresses) >= REMEMBERED_ADDRESSES:
            self._addresses.clear()
        self._addresses[user_id] = address
        return address

    def send(self, delivery: ClaimedDelivery, rendered: Rendered) -> str:
        """See Channel. Where the server refuses a known address (it may be gone), the right one is asked for first.

        A channel that is not there is 403 `create_post` at Mattermost, like one that the bot may not write to.
        """
        if rendered.edits is not None:
            return self._edit(rendered.edits, delivery, rendered)
        known = rendered.address or self._addresses.get(delivery.recipient)
        if known is None:
            return self._post(self.open(delivery.recipient), delivery, rendered)
        try:
            return self._post(known, delivery, rendered)
        except (NotFoundError, RemoteRejectedError):  # definite answers: nothing was posted
            address = self.open(delivery.recipient)
            if address == known:
                raise
            return self._post(address, delivery, rendered)

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

    def redraw(self, post_id: str, rows: Sequence[ButtonRow], recipient: str) -> None:
        """Give a message other buttons; nothing is sent where it shows them already. Text, links and key stay.

        NotFoundError where the message is gone, RemoteRejectedError where the server does not let it be changed. A call whose
        answer was lost may be repeated.
        """
        post = self._client.post(post_id)
        shown = post.props.get("attachments")
        attachments = [one for one in shown if isinstance(one, dict)] if isinstance(shown, list) else []
        wanted = self._drawn(rows, recipient)
        if _looks([one for one in attachments if one.get("actions")]) == _looks(wanted):
            return
        kept = [one for one in attachments if not one.get("actions")]
        self._client.update_post(post_id, props={**post.props, "attachments": [*kept, *wanted]})

    def _drawn(self, rows: Sequence[ButtonRow], recipient: str) -> list[dict[str, Any]]:
        return [] if self._drawing is None else self._drawing.attachments(Answer(rows=tuple(rows)), recipient)

    def _edit(self, post_id: str, delivery: ClaimedDelivery, rendered: Rendered) -> str:
        """Its key stays in the props, so the post is still found as what it was first."""
        post = self._client.post(post_id)
        shown = self._drawn(rendered.rows, delivery.recipient)
        key = str(post.props.get(DELIVERY_PROP, delivery.key))
        self._client.update_post(post_id, message=rendered.message.text, props=_props(key, rendered.message, shown))
        return post_id

    def _post(self, channel_id: str, delivery: ClaimedDelivery, rendered: Rendered) -> str:
        return self._client.create_post(
            channel_id,
            rendered.message.text,
            props=_props(delivery.key, rendered.message, self._drawn(rendered.rows, delivery.recipient)),
            pending_post_id=f"{self._own_id()}:{hashlib.sha256(delivery.key.encode()).hexdigest()[:32]}",
        )

    def _own_id(self) -> str:
        with self._bot_id_lock:
            if self._bot_id is None:
                self._bot_id = self._client.me().id
            return self._bot_id


def _props(key: str, message: Message, buttons: list[dict[str, Any]]) -> Mapping[str, Any]:
    """Links become attachment titles: every server version draws them large and clickable.

    An attachment action cannot open an address by itself; it calls an integration
    (https://developers.mattermost.com/integrate/reference/message-attachments/).
    """
    props: dict[str, Any] = {DELIVERY_PROP: key}
    links = [
        {"fallback": f"{button.text}: {button.url}", "title": button.text, "title_link": button.url}
        for button in message.buttons
    ]
    if links or buttons:
        props["attachments"] = [*links, *buttons]
    return props


def _looks(attachments: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What a person sees of attachments with buttons; the server keeps what the buttons do to itself."""
    return [
        (one.get("text", ""), [(action.get("name"), action.get("style")) for action in one.get("actions") or ()])
        for one in attachments
    ]
