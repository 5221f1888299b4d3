"""Looking up who has a phone: what Telegram says of numbers that are nobody's is an answer, not an error."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from telethon.errors import rpcerrorlist
from telethon.errors.rpcbaseerrors import RPCError

from switchboard.clients.telegram.connection import Connection
from switchboard.clients.telegram.errors import SignInRefusedError, translate
from switchboard.clients.telegram.people import resolve_phone


class Refusing:
    """A connection on which every call is refused with one error."""

    def __init__(self, kind: type[RPCError]) -> None:
        self._kind = kind

    async def call(self, request: Any) -> Any:
        raise translate(self._kind(request=request), method="contacts.resolvePhone", effect=False)


def resolve(kind: type[RPCError]) -> object:
    return asyncio.run(resolve_phone(cast("Connection", Refusing(kind)), "+79996612002"))


@pytest.mark.parametrize("kind", [rpcerrorlist.PhoneNotOccupiedError, rpcerrorlist.PhoneNumberInvalidError])
def test_a_phone_that_nobody_has_or_can_have_is_nobodys(kind: type[RPCError]) -> None:
    assert resolve(kind) is None


def test_other_refusals_are_errors() -> None:
    with pytest.raises(SignInRefusedError):
        resolve(rpcerrorlist.PhoneNumberBannedError)
