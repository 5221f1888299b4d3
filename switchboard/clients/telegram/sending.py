"""Sending: raw requests with random_ids of ours, so that a repeat is known as one.

https://core.telegram.org/method/messages.sendMessage. Every call may be repeated: AlreadySentError says that the message
stands already, and `find_sent` where.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from telethon import functions, types

from switchboard.clients.telegram.connection import Connection
from switchboard.clients.telegram.facts import input_peer
from switchboard.domain.organisations.markup import Formatted, Span, Style, utf16_units
from switchboard.domain.telegram.messages import Attachment, FileKind, Part
from switchboard.domain.telegram.peers import Peer
from switchboard.errors import RemoteRejectedError

SEND_MESSAGE = "messages.sendMessage"
SEND_MEDIA = "messages.sendMedia"
SEND_ALBUM = "messages.sendMultiMedia"
EDIT_MESSAGE = "messages.editMessage"
PIECE_BYTES = 512 * 1024  # https://core.telegram.org/api/files#uploading-files
BIG_BYTES = 10 * 1024 * 1024  # larger files go by another method
HISTORY_PAGE = 100
HISTORY_PAGES = 5
MEDIA_TIMEOUT_S = 60.0  # Telegram may look at a file before it answers

_STYLES = {
    Style.BOLD: types.MessageEntityBold,
    Style.ITALIC: types.MessageEntityItalic,
    Style.UNDERLINE: types.MessageEntityUnderline,
    Style.STRIKE: types.MessageEntityStrike,
    Style.CODE: types.MessageEntityCode,
}


@dataclass(frozen=True, slots=True, repr=False)
class Content:
    """A file's name, media type and bytes, and how it is to be shown."""

    attachment: Attachment
    name: str
    media_type: str
    data: bytes


def method_of(part: Part) -> str:
    """Telegram's name of the call that sends a part."""
    if not part.files:
        return SEND_MESSAGE
    return SEND_MEDIA if len(part.files) == 1 else SEND_ALBUM


async def send_text(connection: Connection, peer: Peer, text: Formatted, random_id: int, *, reply_to: int = 0) -> int:
    """Send a text; return its number in the chat."""
    request = functions.messages.SendMessageRequest(
        input_peer(peer.chat_id, peer.access_hash),
        text.text,
        random_id=random_id,
        entities=entities(text),
        reply_to=_reply(reply_to),
        no_webpage=True,
    )
    return _numbers(await connection.call(request, effect=True), [random_id])[0]


async def edit_text(connection: Connection, peer: Peer, message_id: int, text: Formatted) -> None:
    """Replace a message's text. The same again is no error."""
    request = functions.messages.EditMessageRequest(
        input_peer(peer.chat_id, peer.access_hash),
        message_id,
        message=text.text,
        entities=entities(text),
        no_webpage=True,
    )
    try:
        await connection.call(request, effect=True)
    except RemoteRejectedError as error:
        if error.code != "MESSAGE_NOT_MODIFIED":
            raise


async def upload(connection: Connection, peer: Peer, content: Content, *, album: bool) -> Any:
    """Bring a file to Telegram, as what `send_media` and `send_album` take. Nobody sees anything yet."""
    pieces = [content.data[at : at + PIECE_BYTES] for at in range(0, len(content.data), PIECE_BYTES)]
    big, count = len(content.data) > BIG_BYTES, len(pieces)
    file_id = secrets.randbits(63)
    for number, piece in enumerate(pieces):
        request = (
            functions.upload.SaveBigFilePartRequest(file_id, number, count, piece)
            if big
            else functions.upload.SaveFilePartRequest(file_id, number, piece)
        )
        await connection.call(request, timeout_s=MEDIA_TIMEOUT_S)
    handle = (
        types.InputFileBig(file_id, count, content.name)
        if big
        else types.InputFile(file_id, count, content.name, md5_checksum="")
    )
    media = _uploaded(content, handle)
    if not album:
        return media
    request = functions.messages.UploadMediaRequest(input_peer(peer.chat_id, peer.access_hash), media)
    stored = await connection.call(request, timeout_s=MEDIA_TIMEOUT_S)
    if isinstance(stored, types.MessageMediaPhoto):
        photo = stored.photo
        return types.InputMediaPhoto(types.InputPhoto(photo.id, photo.access_hash, photo.file_reference))
    document = stored.document
    return types.InputMediaDocument(types.InputDocument(document.id, document.access_hash, document.file_reference))


async def send_media(
    connection: Connection, peer: Peer, media: Any, caption: Formatted, random_id: int, *, reply_to: int = 0
) -> int:
    """Send an uploaded file; return the message's number in the chat."""
    request = functions.messages.SendMediaRequest(
        input_peer(peer.chat_id, peer.access_hash),
        media,
        caption.text,
        random_id=random_id,
        entities=entities(caption),
        reply_to=_reply(reply_to),
    )
    return _numbers(await connection.call(request, effect=True, timeout_s=MEDIA_TIMEOUT_S), [random_id])[0]


async def send_album(
    connection: Connection,
    peer: Peer,
    media: Sequence[Any],
    caption: Formatted,
    random_ids: Sequence[int],
    *,
    reply_to: int = 0,
) -> list[int]:
    """Send files that were uploaded for an album, the caption under the first; return their numbers in the chat."""
    singles = [
        types.InputSingleMedia(
            one,
            caption.text if index == 0 else "",
            random_id=random_ids[index],
            entities=entities(caption) if index == 0 else None,
        )
        for index, one in enumerate(media)
    ]
    request = functions.messages.SendMultiMediaRequest(
        input_peer(peer.chat_id, peer.access_hash), singles, reply_to=_reply(reply_to)
    )
    return _numbers(await connection.call(request, effect=True, timeout_s=MEDIA_TIMEOUT_S), random_ids)


async def find_sent(
    connection: Connection, peer: Peer, part: Part, *, since: datetime, taken: Collection[int]
) -> list[int] | None:
    """The numbers of a part that stands in the chat since then; None where it does not. `taken` are other messages of ours.

    Telegram shows nobody the random_id of a message, so what it says is compared. For people's accounts only: bots may not
    read a chat.
    """
    before = 0
    for _ in range(HISTORY_PAGES):
        request = functions.messages.GetHistoryRequest(
            input_peer(peer.chat_id, peer.access_hash), before, None, 0, HISTORY_PAGE, 0, 0, 0
        )
        page = (await connection.call(request)).messages
        for message in page:
            if isinstance(message, types.Message) and _is_part(message, part) and message.id not in taken:
                if message.date < since:
                    return None
                album = message.grouped_id
                same = [one.id for one in page if album and getattr(one, "grouped_id", None) == album]
                return sorted(same) or [message.id]
        if len(page) < HISTORY_PAGE or page[-1].date < since:
            return None
        before = page[-1].id
    return None


def entities(text: Formatted) -> list[Any] | None:
    """The spans as Telegram has them, which counts UTF-16 code units; None for none."""
    return [_entity(text.text, span) for span in text.spans] or None


def _entity(text: str, span: Span) -> Any:
    offset, length = utf16_units(text[: span.start]), utf16_units(text[span.start : span.end])
    if span.style is Style.LINK:
        return types.MessageEntityTextUrl(offset, length, span.url)
    return _STYLES[span.style](offset, length)


def _uploaded(content: Content, handle: Any) -> Any:
    attachment = content.attachment
    if attachment.kind is FileKind.PHOTO:
        return types.InputMediaUploadedPhoto(handle)
    attributes: list[Any] = [types.DocumentAttributeFilename(content.name)]
    if attachment.kind is FileKind.VOICE:
        attributes.append(types.DocumentAttributeAudio(attachment.duration_s, voice=True))
    if attachment.kind is FileKind.VIDEO:
        attributes.append(
            types.DocumentAttributeVideo(
                attachment.duration_s, attachment.width, attachment.height, supports_streaming=True
            )
        )
    force = attachment.kind is FileKind.DOCUMENT or None
    return types.InputMediaUploadedDocument(handle, content.media_type, attributes, force_file=force)


def _reply(message_id: int) -> Any:
    return types.InputReplyToMessage(message_id) if message_id else None


def _numbers(answer: Any, random_ids: Sequence[int]) -> list[int]:
    """The numbers of the messages that were made; 0 where the answer does not say."""
    if isinstance(answer, types.UpdateShortSentMessage):
        return [int(answer.id)]
    updates = getattr(answer, "updates", ())
    made = {one.random_id: int(one.id) for one in updates if isinstance(one, types.UpdateMessageID)}
    return [made.get(random_id, 0) for random_id in random_ids]


def _is_part(message: Any, part: Part) -> bool:
    has_file = message.media is not None and not isinstance(message.media, types.MessageMediaWebPage)
    return bool(message.out) and message.message == part.text.text and has_file == bool(part.files)
