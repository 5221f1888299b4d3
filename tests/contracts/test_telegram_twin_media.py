"""Files in the loopback Telegram: up in parts, in messages and albums, down again."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from typing import Any

import pytest
from telethon import errors, functions, types

from tests.contracts.telegram_client import Clients, hear, played


def picture(width: int = 40, height: int = 30) -> bytes:
    """A PNG of noise, so that no two are alike."""
    rows = b"".join(b"\0" + os.urandom(width * 3) for _ in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def named(data: bytes, name: str) -> io.BytesIO:
    file = io.BytesIO(data)
    file.name = name
    return file


@played
async def test_a_photo_goes_up_and_comes_down_the_same(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    heard, data = hear(boris), picture()
    await anna.send_file("boris_n", named(data, "shot.png"), caption="**look**")
    event = await heard.next()
    assert (event.photo.sizes[0].w, event.raw_text) == (40, "look")
    assert await event.download_media(bytes) == data


@played
async def test_a_document_of_many_parts_keeps_its_name_and_bytes(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    heard, data = hear(boris), os.urandom(1_300_000)
    await anna.send_file("boris_n", named(data, "act.pdf"), force_document=True)
    event = await heard.next()
    assert (event.file.name, event.file.size, event.file.mime_type) == ("act.pdf", len(data), "application/pdf")
    assert await event.download_media(bytes) == data


@played
async def test_a_big_file_travels_by_its_own_method(clients: Clients) -> None:
    anna = await clients.of("Anna")
    data = os.urandom(1024) * (11 * 1024)
    await anna.send_file("boris_n", named(data, "big.bin"))
    assert clients.twin.server.calls["upload.saveBigFilePart"] > 1
    media = clients.twin.messages("Boris", "Anna")[0].media
    assert media is not None
    assert clients.twin.server.files.read(media.file_id) == data


@played
async def test_voice_and_video_are_told_apart(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    heard = hear(boris)
    await anna.send_file("boris_n", named(b"OggS" * 99, "note.ogg"), voice_note=True)
    assert (await heard.next()).voice
    film = [types.DocumentAttributeVideo(3, 64, 48)]
    await anna.send_file("boris_n", named(b"mp4" * 99, "film.mp4"), attributes=film)
    assert (await heard.next()).video


@played
async def test_an_album_arrives_as_one_group_in_order(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    heard = hear(boris)
    sent = await anna.send_file("boris_n", [named(picture(), f"{n}.png") for n in range(3)], caption=["a", "b", "c"])
    events = [await heard.next() for _ in range(3)]
    assert [event.raw_text for event in events] == ["a", "b", "c"]
    assert len({event.grouped_id for event in events} | {one.grouped_id for one in sent}) == 1
    assert sent[0].grouped_id is not None


@played
async def test_an_album_takes_uploaded_media_of_one_sort_and_ten_at_most(clients: Clients) -> None:
    anna = await clients.of("Anna")
    boris = await anna.get_input_entity("boris_n")
    file = await anna.upload_file(named(picture(), "a.png"))
    fresh = types.InputMediaUploadedPhoto(file)
    with pytest.raises(errors.MediaInvalidError):
        await _album(anna, boris, [fresh, fresh])
    photo = (await anna(functions.messages.UploadMediaRequest(boris, fresh))).photo
    known = types.InputMediaPhoto(types.InputPhoto(photo.id, photo.access_hash, photo.file_reference))
    with pytest.raises(errors.MultiMediaTooLongError):
        await _album(anna, boris, [known] * 11)
    paper = types.InputMediaUploadedDocument(await anna.upload_file(named(b"x", "x.txt")), "text/plain", [])
    document = (await anna(functions.messages.UploadMediaRequest(boris, paper))).document
    other = types.InputMediaDocument(types.InputDocument(document.id, document.access_hash, document.file_reference))
    with pytest.raises(errors.MediaInvalidError):
        await _album(anna, boris, [known, other])


async def _album(client: Any, peer: Any, media: list[Any]) -> None:
    await client(functions.messages.SendMultiMediaRequest(peer, [types.InputSingleMedia(one, "") for one in media]))


@played
async def test_wrong_parts_and_sums_are_refused(clients: Clients) -> None:
    anna = await clients.of("Anna")

    async def up(number: int, part: int, data: bytes) -> None:
        await anna(functions.upload.SaveFilePartRequest(number, part, data))

    async def send(number: int, parts: int, md5: str = "") -> None:
        file = types.InputFile(number, parts, "a.bin", md5)
        media = types.InputMediaUploadedDocument(file, "a/b", [])
        await anna(functions.messages.SendMediaRequest("boris_n", media, ""))

    with pytest.raises(errors.FilePartEmptyError):
        await up(1, 0, b"")
    with pytest.raises(errors.FilePartTooBigError):
        await up(1, 0, bytes(600_000))
    await up(1, 0, bytes(1024))
    await up(1, 2, b"end")
    with pytest.raises(errors.FilePartMissingError):
        await send(1, 3)
    with pytest.raises(errors.FilePartsInvalidError):
        await send(1, 1)
    await up(1, 1, bytes(512))
    with pytest.raises(errors.FilePartSizeInvalidError):
        await send(1, 3)
    await up(2, 0, b"whole")
    with pytest.raises(errors.Md5ChecksumInvalidError):
        await send(2, 1, "0" * 32)
    await send(2, 1, hashlib.md5(b"whole").hexdigest())


@pytest.mark.parametrize(
    ("data", "name", "error"),
    [
        (b"no picture at all", "a.png", errors.ImageProcessFailedError),
        (picture(1000, 2), "long.png", errors.PhotoInvalidDimensionsError),
        (picture(), "a.txt", errors.PhotoExtInvalidError),
        (picture() + bytes(10 * 1024 * 1024), "heavy.png", errors.PhotoSaveFileInvalidError),
    ],
    ids=["no picture", "too long", "no picture's name", "over 10 MB"],
)
def test_what_is_no_photo_is_refused(telegram_twin: Any, data: bytes, name: str, error: type) -> None:
    @played
    async def scene(clients: Clients) -> None:
        anna = await clients.of("Anna")
        file = await anna.upload_file(named(data, name))
        with pytest.raises(error):
            await anna(functions.messages.SendMediaRequest("boris_n", types.InputMediaUploadedPhoto(file), ""))

    scene(telegram_twin)


@played
async def test_captions_are_shorter_than_texts(clients: Clients) -> None:
    anna = await clients.of("Anna")
    with pytest.raises(errors.MediaCaptionTooLongError):
        await anna.send_file("boris_n", named(b"x", "x.txt"), caption="a" * 1025)
    with pytest.raises(errors.MediaEmptyError):
        await anna(functions.messages.SendMediaRequest("boris_n", types.InputMediaEmpty(), ""))


@played
async def test_an_old_file_reference_is_refused_until_the_message_is_fetched_again(clients: Clients) -> None:
    data = os.urandom(5000)
    clients.twin.send_file_as("Boris", "Anna", data, "plan.txt")
    anna = await clients.of("Anna")
    message = (await anna.get_messages("boris_n"))[0]
    clients.twin.call(clients.twin.world.expire_files)
    location = types.InputDocumentFileLocation(
        message.document.id, message.document.access_hash, message.document.file_reference, ""
    )
    with pytest.raises(errors.FileReferenceExpiredError):
        await anna(functions.upload.GetFileRequest(location, 0, 4096))
    assert await message.download_media(bytes) == data  # Telethon fetches the message again by itself
    again = (await anna.get_messages("boris_n"))[0].document
    assert again.file_reference != location.file_reference


@played
async def test_pieces_of_a_file_are_cut_as_the_server_wants(clients: Clients) -> None:
    clients.twin.send_file_as("Boris", "Anna", bytes(20_000), "plan.txt")
    anna, clara = await clients.of("Anna"), await clients.of("Clara")
    found = (await anna.get_messages("boris_n"))[0].document
    location = types.InputDocumentFileLocation(found.id, found.access_hash, found.file_reference, "")
    assert len((await anna(functions.upload.GetFileRequest(location, 16384, 4096))).bytes) == 3616
    for offset, limit, error in ((100, 4096, errors.OffsetInvalidError), (0, 5000, errors.LimitInvalidError),
                                 (0, 2_097_152, errors.LimitInvalidError)):  # fmt: skip
        with pytest.raises(error):
            await anna(functions.upload.GetFileRequest(location, offset, limit))
    with pytest.raises(errors.LocationInvalidError):
        await clara(functions.upload.GetFileRequest(location, 0, 4096))  # the hash is Anna's
