"""Private messages to a number that organisations write from: what people answer to their notices."""

from __future__ import annotations

from switchboard.db.engine import Database
from switchboard.db.repositories.telegram_peers import PeerRepository
from switchboard.domain.telegram.facts import SERVICE_CHAT
from switchboard.services.organisations.recipients import Peer, Recipients
from switchboard.services.telegram.handling import Received


class Hearing:
    """Handles received messages for organisations; passes over groups, bots, edits and what the account wrote itself."""

    def __init__(self, database: Database, recipients: Recipients) -> None:
        self._database = database
        self._recipients = recipients

    def __call__(self, message: Received) -> None:
        """STOP, START and whatever else a recipient writes. A repeat changes nothing."""
        written = message.kind == "message" and message.edit == 0 and not message.out and message.text
        if not written or not message.is_private or message.chat_id == SERVICE_CHAT:
            return
        with self._database.read() as session:
            known = PeerRepository(session).get(message.account_id, message.chat_id)
        if known is not None and known.kind == "bot":
            return
        username, phone = (known.username, known.phone) if known is not None else (None, None)
        peer = Peer(message.chat_id, username, phone)
        self._recipients.hear(message.account_id, peer, message.text or "", once=f"message {message.id}")
