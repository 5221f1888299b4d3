"""Answers after the request: to the command's response_url, to the person alone in the channel, or by direct message."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from switchboard.clients.mattermost import MattermostClient
from switchboard.crypto import SecretBox
from switchboard.errors import ConfigError, NotFoundError, RemoteRejectedError, UncertainError
from switchboard.services.conversation.answers import Answer
from switchboard.services.conversation.drawing import Drawing


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """Where a person waits for an answer. `response_url` is empty after a click: it belongs to a typed command."""

    user_id: str
    channel_id: str
    response_url: str = ""


class Replies:
    """Sends answers. A response_url is a key to somebody's channel, so an address leaves the process only sealed."""

    def __init__(
        self, client: MattermostClient, open_channel: Callable[[str], str], drawing: Drawing, secret_box: SecretBox
    ) -> None:
        """`open_channel` gives the bot's direct channel with a user."""
        self._client = client
        self._open_channel = open_channel
        self._drawing = drawing
        self._secret_box = secret_box

    def seal(self, address: ReplyAddress) -> str:
        """The address as a text that only we can read."""
        return self._secret_box.encrypt(json.dumps(asdict(address)))

    def unseal(self, sealed: str) -> ReplyAddress:
        """The address that `seal` wrote; ConfigError where the key is gone."""
        try:
            return ReplyAddress(**json.loads(self._secret_box.decrypt(sealed)))
        except (TypeError, ValueError):
            raise ConfigError("a reply address cannot be read") from None

    def send(self, address: ReplyAddress, answer: Answer) -> None:
        """Show the answer to the person, in the first way that the server allows. Raises TransientError.

        A send whose answer was lost is not repeated: most of those arrived.
        """
        attachments = self._drawing.attachments(answer, address.user_id)
        try:
            self._send(address, answer.text, attachments)
        except UncertainError:
            return

    def _send(self, address: ReplyAddress, text: str, attachments: list[dict[str, Any]]) -> None:
        if address.response_url:
            wire = {"response_type": "ephemeral", "text": text, "attachments": attachments}
            try:
                self._client.answer_command(address.response_url, wire)
            except (RemoteRejectedError, NotFoundError):
                pass  # used up, over, or not on our server: the next way
            else:
                return
        props = {"attachments": attachments} if attachments else {}
        try:
            self._client.create_ephemeral_post(address.user_id, address.channel_id, text, props=props)
        except (RemoteRejectedError, NotFoundError):
            # The bot has no right to ephemeral posts, or does not see the channel.
            channel_id = self._open_channel(address.user_id)
            self._client.create_post(channel_id, text, props=props, pending_post_id=secrets.token_hex(16))
