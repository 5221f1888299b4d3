"""upload.* and what makes media of uploads (core.telegram.org/api/files)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from telethon.tl import functions, types

from sandbox.telegram import peers, views
from sandbox.telegram.errors import refused
from sandbox.telegram.files import NotAPictureError, picture_size
from sandbox.telegram.model import Media, Tl
from sandbox.telegram.requests import Call, method

PART_MAX_BYTES = 524_288
PARTS_MAX, PARTS_MAX_PREMIUM = 4_000, 8_000
BIG_FROM_BYTES = 10 * 1024 * 1024
PHOTO_MAX_BYTES = 10 * 1024 * 1024
PHOTO_SIDES_MAX, PHOTO_RATIO_MAX = 10_000, 20  # core.telegram.org/bots/api#sendphoto
DOWNLOAD_MAX_BYTES = 1_048_576
PHOTO_NAMES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp")


# --- up ---------------------------------------------------------------------------------------------------------------


@method(functions.upload.SaveFilePartRequest)
def save_file_part(call: Call, request: Tl) -> Tl:
    return _save(call, request.file_id, request.file_part, request.bytes)


@method(functions.upload.SaveBigFilePartRequest)
def save_big_file_part(call: Call, request: Tl) -> Tl:
    most = PARTS_MAX_PREMIUM if call.me.premium else PARTS_MAX
    if request.file_total_parts > most or not request.file_total_parts:
        raise refused("FILE_PARTS_INVALID")
    if request.file_part >= request.file_total_parts > 0:
        raise refused("FILE_PART_INVALID")
    last = request.file_part == request.file_total_parts - 1
    if not last and (len(request.bytes) % 1024 or PART_MAX_BYTES % max(len(request.bytes), 1)):
        raise refused("FILE_PART_SIZE_INVALID")
    return _save(call, request.file_id, request.file_part, request.bytes)


def _save(call: Call, file_id: int, number: int, data: bytes) -> bool:
    if not data:
        raise refused("FILE_PART_EMPTY")
    if len(data) > PART_MAX_BYTES:
        raise refused("FILE_PART_TOO_BIG")
    if not 0 <= number < PARTS_MAX_PREMIUM:
        raise refused("FILE_PART_INVALID")
    call.server.files.put_part(call.me.id, file_id, number, data)
    return True


def _whole_file(call: Call, given: Tl) -> bytes:
    """The uploaded file put together; its parts are gone afterwards."""
    if not isinstance(given, types.InputFile | types.InputFileBig):
        raise refused("MEDIA_EMPTY")
    parts = call.server.files.parts(call.me.id, given.id)
    if not 0 < given.parts <= (PARTS_MAX_PREMIUM if call.me.premium else PARTS_MAX) or len(parts) > given.parts:
        raise refused("FILE_PARTS_INVALID")
    for number in range(given.parts):
        if number not in parts:
            raise refused(f"FILE_PART_{number}_MISSING")
    sizes = {len(parts[number]) for number in range(given.parts - 1)}
    if len(sizes) > 1 or any(size % 1024 or PART_MAX_BYTES % size for size in sizes):
        raise refused("FILE_PART_SIZE_INVALID")
    if sizes and len(parts[given.parts - 1]) > min(sizes):
        raise refused("FILE_PART_LENGTH_INVALID")
    data = b"".join(parts[number] for number in range(given.parts))
    if isinstance(given, types.InputFile):
        if len(data) > BIG_FROM_BYTES:
            raise refused("FILE_PARTS_INVALID")  # more than 10 MB is a big file
        sums = given.md5_checksum
        if sums and sums != hashlib.md5(data).hexdigest():  # noqa: S324 - the field is an MD5
            raise refused("MD5_CHECKSUM_INVALID")
    call.server.files.forget_upload(call.me.id, given.id)
    return data


# --- media of a message -----------------------------------------------------------------------------------------------


def from_input(call: Call, given: Tl) -> Media:
    """The media an `inputMedia...` names: freshly uploaded, or one that is known here."""
    match given:
        case types.InputMediaUploadedPhoto():
            return _photo(call, given)
        case types.InputMediaUploadedDocument():
            return _document(call, given)
        case types.InputMediaPhoto() | types.InputMediaDocument():
            return dataclasses.replace(
                _known(call, given.id, "photo" if isinstance(given, types.InputMediaPhoto) else "document"),
                spoiler=bool(given.spoiler),
                ttl_s=given.ttl_seconds or 0,
            )
        case types.InputMediaEmpty():
            raise refused("MEDIA_EMPTY")
    raise refused("MEDIA_INVALID")


def _photo(call: Call, given: Tl) -> Media:
    data = _whole_file(call, given.file)
    name = given.file.name.lower()
    if "." in name and not name.endswith(PHOTO_NAMES):
        raise refused("PHOTO_EXT_INVALID")
    if len(data) > PHOTO_MAX_BYTES:
        raise refused("PHOTO_SAVE_FILE_INVALID")
    try:
        width, height = picture_size(data)
    except NotAPictureError:
        raise refused("IMAGE_PROCESS_FAILED") from None
    if (
        not width
        or not height
        or width + height > PHOTO_SIDES_MAX
        or max(width, height) > PHOTO_RATIO_MAX * min(width, height)
    ):
        raise refused("PHOTO_INVALID_DIMENSIONS")
    return _remember(
        call,
        Media("photo", call.server.files.keep(data), len(data), call.world.now(), width, height,
              spoiler=bool(given.spoiler), ttl_s=given.ttl_seconds or 0),
    )  # fmt: skip


def _document(call: Call, given: Tl) -> Media:
    data = _whole_file(call, given.file)
    attributes: Sequence[Tl] = given.attributes
    if not any(isinstance(one, types.DocumentAttributeFilename) for one in attributes) and given.file.name:
        attributes = [*attributes, types.DocumentAttributeFilename(given.file.name)]
    mime = given.mime_type or "application/octet-stream"
    return _remember(
        call,
        Media("document", call.server.files.keep(data), len(data), call.world.now(), mime_type=mime,
              attributes=list(attributes), spoiler=bool(given.spoiler), ttl_s=given.ttl_seconds or 0),
    )  # fmt: skip


def _remember(call: Call, media: Media) -> Media:
    call.world.media[media.file_id] = media
    call.world.record("media", media)
    return media


def _known(call: Call, given: Tl, kind: str) -> Media:
    """A file of earlier, by id, access hash and a fresh reference (core.telegram.org/api/file_reference)."""
    media = call.world.media.get(getattr(given, "id", 0))
    if (
        media is None
        or media.kind != kind
        or given.access_hash != call.world.access_hash(call.me.id, media.kind, media.file_id)
    ):
        raise refused("MEDIA_EMPTY")
    _check_reference(call, media, given.file_reference)
    return media


def _check_reference(call: Call, media: Media, reference: bytes) -> None:
    if not reference:
        raise refused("FILE_REFERENCE_EMPTY")
    if reference != views.file_reference(call.world, media.file_id):
        raise refused("FILE_REFERENCE_EXPIRED")


@method(functions.messages.UploadMediaRequest)
def upload_media(call: Call, request: Tl) -> Tl:
    peers.resolve(call, request.peer)
    return views.media(call.world, call.me.id, from_input(call, request.media))


# --- down -------------------------------------------------------------------------------------------------------------


@method(functions.upload.GetFileRequest)
def get_file(call: Call, request: Tl) -> Tl:
    """A piece of a file; offset and limit by core.telegram.org/api/files#downloading-files."""
    location, unit = request.location, 1024 if request.precise else 4096
    if not isinstance(location, types.InputDocumentFileLocation | types.InputPhotoFileLocation):
        raise refused("LOCATION_INVALID")
    media = call.world.media.get(location.id)
    if media is None or location.access_hash != call.world.access_hash(call.me.id, media.kind, media.file_id):
        raise refused("LOCATION_INVALID")
    _check_reference(call, media, location.file_reference)
    if request.offset < 0 or request.offset % unit:
        raise refused("OFFSET_INVALID")
    if not 0 < request.limit <= DOWNLOAD_MAX_BYTES or request.limit % unit:
        raise refused("LIMIT_INVALID")
    if not request.precise and DOWNLOAD_MAX_BYTES % request.limit:
        raise refused("LIMIT_INVALID")
    first, last = request.offset, request.offset + request.limit - 1
    if first // DOWNLOAD_MAX_BYTES != last // DOWNLOAD_MAX_BYTES:
        raise refused("LIMIT_INVALID")
    data = call.server.files.read(media.file_id)
    return types.upload.File(types.storage.FileUnknown(), media.date, data[first : last + 1])
