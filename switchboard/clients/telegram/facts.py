"""Telethon's objects as the plain facts of switchboard.domain.telegram.facts."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from telethon import utils
from telethon.tl import types

from switchboard.domain.telegram.facts import (
    DeletedFact,
    Fact,
    MessageFact,
    PressedFact,
    ReadFact,
)
from switchboard.domain.telegram.peers import Peer, PeerKind, SeenPeer


def chat_id_of(peer: Any) -> int:
    """The number under which we know a chat."""
    return int(utils.get_peer_id(peer))


def channel_chat_id(channel_id: int) -> int:
    """Of a channel's own id."""
    return chat_id_of(types.PeerChannel(channel_id))


def input_channel(chat_id: int, access_hash: int) -> Any:
    """A channel in a request."""
    return types.InputChannel(utils.resolve_id(chat_id)[0], access_hash)


def input_peer(chat_id: int, access_hash: int | None) -> Any:
    """A chat in a request. A basic group needs no access hash."""
    number, kind = utils.resolve_id(chat_id)
    if kind is types.PeerChat:
        return types.InputPeerChat(number)
    if kind is types.PeerChannel:
        return types.InputPeerChannel(number, access_hash or 0)
    return types.InputPeerUser(number, access_hash or 0)


def peers_of(users: Iterable[Any], chats: Iterable[Any]) -> Iterator[SeenPeer]:
    """Whom an answer or a push introduces, of those who can be addressed. The hash of a `min` description is of no use
    outside its context (https://core.telegram.org/api/min).
    """
    for user in users:
        if isinstance(user, types.User) and user.access_hash is not None and not user.min:
            yield SeenPeer(
                Peer(PeerKind.USER, user.id, user.access_hash),
                name=" ".join(part for part in (user.first_name, user.last_name) if part),
                username=user.username or next((one.username for one in user.usernames or () if one.active), None),
                phone=f"+{user.phone}" if user.phone else None,
                is_bot=bool(user.bot),
            )
    for chat in chats:
        if isinstance(chat, types.Chat):
            yield SeenPeer(Peer(PeerKind.CHAT, chat.id), chat.title)
        elif isinstance(chat, types.Channel) and chat.access_hash is not None and not chat.min:
            yield SeenPeer(Peer(PeerKind.CHANNEL, chat.id, chat.access_hash), chat.title, chat.username)


def message_of(message: Any, *, edited: bool = False) -> MessageFact | None:
    """A message that somebody wrote; None for service messages and empty ones."""
    if not isinstance(message, types.Message):
        return None
    return MessageFact(
        chat_id=chat_id_of(message.peer_id),
        message_id=message.id,
        sent_at=message.date,
        text=message.message or "",
        out=bool(message.out),
        sender_id=_sender_of(message),
        edit=int(message.edit_date.timestamp()) if message.edit_date else 0,
        edited=edited,
        media=media_of(message.media),
        reply_to=getattr(message.reply_to, "reply_to_msg_id", None),
        album=message.grouped_id,
    )


def _sender_of(message: Any) -> int | None:
    if message.from_id is not None:
        return chat_id_of(message.from_id)
    if isinstance(message.peer_id, types.PeerUser) and not message.out:
        return int(message.peer_id.user_id)
    return None


def media_of(media: Any) -> dict[str, Any] | None:
    """What hangs on a message; a preview of a link is none."""
    match media:
        case None | types.MessageMediaEmpty() | types.MessageMediaWebPage():
            return None
        case types.MessageMediaPhoto(photo=types.Photo() as photo):
            best = max(photo.sizes, key=_bytes_in, default=None)
            return {"kind": "photo", "size": _bytes_in(best), "thumb": getattr(best, "type", ""), **_reference(photo)}
        case types.MessageMediaDocument(document=types.Document() as document):
            found = {"kind": _document_kind(document), "size": document.size, "mime": document.mime_type}
            name = next((one.file_name for one in document.attributes if hasattr(one, "file_name")), None)
            return {**found, **({"name": name} if name else {}), **_reference(document)}
    return {"kind": type(media).__name__.removeprefix("MessageMedia").lower()}


def _reference(file: Any) -> dict[str, Any]:
    """How to ask for a file; the reference ends after a while and is then read from its message anew
    (https://core.telegram.org/api/file_reference).
    """
    return {
        "id": str(file.id),
        "access_hash": str(file.access_hash),
        "file_reference": base64.b64encode(file.file_reference).decode(),
        "dc": file.dc_id,
    }


def _bytes_in(size: Any) -> int:
    return int(getattr(size, "size", 0) or max(getattr(size, "sizes", None) or [0]))


def _document_kind(document: Any) -> str:
    kinds = {
        types.DocumentAttributeSticker: "sticker",
        types.DocumentAttributeAnimated: "animation",
        types.DocumentAttributeVideo: "video",
    }
    for attribute in document.attributes:
        if isinstance(attribute, types.DocumentAttributeAudio):
            return "voice" if attribute.voice else "audio"
    return next((kinds[type(one)] for one in document.attributes if type(one) in kinds), "document")


def fact_of(update: Any, at: datetime) -> Fact | None:
    """The fact in an update that came at `at`; None where it says nothing that we keep."""
    match update:
        case types.UpdateNewMessage() | types.UpdateNewChannelMessage():
            return message_of(update.message)
        case types.UpdateEditMessage() | types.UpdateEditChannelMessage():
            return message_of(update.message, edited=True)
        case types.UpdateDeleteMessages():
            return DeletedFact(None, tuple(update.messages)) if update.messages else None
        case types.UpdateDeleteChannelMessages():
            return DeletedFact(channel_chat_id(update.channel_id), tuple(update.messages))
        case types.UpdateReadHistoryOutbox() | types.UpdateReadHistoryInbox():
            by_us = isinstance(update, types.UpdateReadHistoryInbox)
            return ReadFact(chat_id_of(update.peer), update.max_id, by_us=by_us)
        case types.UpdateReadChannelOutbox() | types.UpdateReadChannelInbox():
            by_us = isinstance(update, types.UpdateReadChannelInbox)
            return ReadFact(channel_chat_id(update.channel_id), update.max_id, by_us=by_us)
        case types.UpdateBotCallbackQuery():
            chat_id = chat_id_of(update.peer)
            return PressedFact(update.query_id, chat_id, update.msg_id, update.user_id, update.data or b"", at)
    return None
