"""Who is behind a username or a phone: the two calls that Telegram has for it (https://core.telegram.org/api/contacts)."""

from __future__ import annotations

from typing import Any

from telethon import functions

from switchboard.clients.telegram.connection import Connection
from switchboard.clients.telegram.errors import RecipientRefusedError, SignInRefusedError
from switchboard.clients.telegram.facts import chat_id_of, peers_of
from switchboard.domain.telegram.peers import SeenPeer
from switchboard.domain.telegram.refusals import UNKNOWN

RESOLVE_USERNAME = "contacts.resolveUsername"
RESOLVE_PHONE = "contacts.resolvePhone"


async def resolve_username(connection: Connection, username: str) -> SeenPeer | None:
    """Whose username this is; None where it is nobody's."""
    try:
        answer = await connection.call(functions.contacts.ResolveUsernameRequest(username))
    except RecipientRefusedError as error:
        if error.reason != UNKNOWN:
            raise
        return None
    return _resolved(answer)


async def resolve_phone(connection: Connection, phone: str) -> SeenPeer | None:
    """Whose phone this is; None where it is nobody's, can be nobody's, or they do not want to be found by it."""
    try:
        answer = await connection.call(functions.contacts.ResolvePhoneRequest(phone))
    except SignInRefusedError as error:
        if error.reason not in ("phone_unoccupied", "phone_invalid"):
            raise
        return None
    return _resolved(answer)


def _resolved(answer: Any) -> SeenPeer | None:
    chat_id = chat_id_of(answer.peer)
    return next((seen for seen in peers_of(answer.users, answer.chats) if seen.peer.chat_id == chat_id), None)
