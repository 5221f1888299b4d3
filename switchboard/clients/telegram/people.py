"""Who is behind a username or a phone: the two calls that Telegram has for it (https://core.telegram.org/api/contacts)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from telethon import functions, types

from switchboard.clients.telegram.connection import Connection
from switchboard.clients.telegram.errors import RecipientRefusedError, SignInRefusedError
from switchboard.domain.telegram.peers import Peer, PeerKind, SeenPeer
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
    """Whose phone this is; None where it is nobody's, or they do not want to be found by it."""
    try:
        answer = await connection.call(functions.contacts.ResolvePhoneRequest(phone))
    except SignInRefusedError as error:
        if error.reason != "phone_unoccupied":
            raise
        return None
    return _resolved(answer)


def seen_peers(users: Iterable[Any], chats: Iterable[Any]) -> list[SeenPeer]:
    """What Telegram says beside an answer, of those who can be addressed: `min` descriptions have no access hash of use."""
    found = []
    for user in users:
        if isinstance(user, types.User) and user.access_hash is not None and not user.min:
            name = " ".join(part for part in (user.first_name, user.last_name) if part)
            phone = f"+{user.phone}" if user.phone else None
            found.append(
                SeenPeer(Peer(PeerKind.USER, user.id, user.access_hash), name, user.username, phone, bool(user.bot))
            )
    for chat in chats:
        if isinstance(chat, types.Chat):
            found.append(SeenPeer(Peer(PeerKind.CHAT, chat.id), chat.title))
        elif isinstance(chat, types.Channel) and chat.access_hash is not None and not chat.min:
            found.append(SeenPeer(Peer(PeerKind.CHANNEL, chat.id, chat.access_hash), chat.title, chat.username))
    return found


def _resolved(answer: Any) -> SeenPeer | None:
    kinds = {
        types.PeerUser: (PeerKind.USER, "user_id"),
        types.PeerChat: (PeerKind.CHAT, "chat_id"),
        types.PeerChannel: (PeerKind.CHANNEL, "channel_id"),
    }
    kind, attribute = kinds[type(answer.peer)]
    number = getattr(answer.peer, attribute)
    found = (
        seen for seen in seen_peers(answer.users, answer.chats) if (seen.peer.kind, seen.peer.id) == (kind, number)
    )
    return next(found, None)
