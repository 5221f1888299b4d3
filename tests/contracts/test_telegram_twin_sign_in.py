"""Signing in to the loopback Telegram: codes, passwords, bot tokens, and how sessions end."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from telethon import errors, functions, types
from telethon.password import compute_check

from sandbox.telegram import API_HASH, API_ID
from tests.contracts.telegram_client import Clients, hear, played

ANNA, BORIS = "+9996610001", "+9996610002"


def code(clients: Clients, phone: str = ANNA) -> str:
    return clients.twin.codes(phone)[-1].code


@played
async def test_a_code_by_sms_signs_in(clients: Clients) -> None:
    client = await clients.connect()
    sent = await client.send_code_request(ANNA)
    assert isinstance(sent.type, types.auth.SentCodeTypeSms)
    assert sent.type.length == len(code(clients))
    assert clients.twin.codes()[-1].phone == ANNA[1:]
    right = code(clients)
    assert (await client.sign_in(ANNA, right)).first_name == "Anna"
    assert (await client.get_me()).phone == ANNA[1:]
    other = await clients.connect()
    with pytest.raises(errors.PhoneCodeExpiredError):  # a code signs in once
        await other(functions.auth.SignInRequest(ANNA, sent.phone_code_hash, right))


@played
async def test_a_code_goes_to_the_other_sessions_first_and_by_sms_when_asked_again(clients: Clients) -> None:
    other = await clients.of("Anna")
    heard = hear(other)
    client = await clients.connect()
    sent = await client.send_code_request(ANNA)
    assert isinstance(sent.type, types.auth.SentCodeTypeApp)
    assert isinstance(sent.next_type, types.auth.CodeTypeSms)
    assert sent.timeout == 60
    message = await heard.next()
    assert (message.sender_id, code(clients) in message.raw_text) == (777000, True)
    old = code(clients)
    hasty = await clients.connect()  # Telethon itself keeps to a wait that it was told
    with pytest.raises(errors.FloodWaitError) as early:
        await hasty(functions.auth.ResendCodeRequest(ANNA, sent.phone_code_hash))
    assert 0 < early.value.seconds <= sent.timeout
    assert code(clients) == old
    clients.twin.world.clock.ahead_s = sent.timeout  # type: ignore[attr-defined]  # the tests' Clock
    again = await client(functions.auth.ResendCodeRequest(ANNA, sent.phone_code_hash))
    assert isinstance(again.type, types.auth.SentCodeTypeSms)
    with pytest.raises(errors.PhoneCodeInvalidError):
        await client(functions.auth.SignInRequest(ANNA, sent.phone_code_hash, f"{(int(old) + 1) % 100000:05}"))
    with pytest.raises(errors.SendCodeUnavailableError):
        await client(functions.auth.ResendCodeRequest(ANNA, sent.phone_code_hash))
    assert (await client.sign_in(ANNA, code(clients))).first_name == "Anna"


@pytest.mark.parametrize(
    ("phone", "app", "error"),
    [
        ("12", (API_ID, API_HASH), errors.PhoneNumberInvalidError),
        ("+9996619999", (API_ID, API_HASH), errors.PhoneNumberBannedError),
        (ANNA, (API_ID, "0" * 32), errors.ApiIdInvalidError),
    ],
)
def test_a_bad_number_or_app_gets_no_code(telegram_twin: Any, phone: str, app: tuple[int, str], error: type) -> None:
    @played
    async def scene(clients: Clients) -> None:
        client = await clients.connect()
        with pytest.raises(error):
            await client(functions.auth.SendCodeRequest(phone, *app, types.CodeSettings()))
        assert clients.twin.codes() == []

    telegram_twin.world.banned_phones.add("9996619999")
    scene(telegram_twin)


@played
async def test_a_number_gets_so_many_codes_a_day(clients: Clients) -> None:
    client = await clients.connect()
    clients.twin.world.settings.codes_per_day = 2
    for _ in range(2):
        await client(functions.auth.SendCodeRequest(ANNA, API_ID, API_HASH, types.CodeSettings()))
    with pytest.raises(errors.PhoneNumberFloodError):
        await client(functions.auth.SendCodeRequest(ANNA, API_ID, API_HASH, types.CodeSettings()))
    clients.twin.world.clock.ahead_s = 90_000  # type: ignore[attr-defined]  # the tests' Clock
    await client(functions.auth.SendCodeRequest(ANNA, API_ID, API_HASH, types.CodeSettings()))


@played
async def test_a_code_is_refused_when_empty_wrong_old_cancelled_used_or_guessed_at(clients: Clients) -> None:
    client = await clients.connect()
    sent = await client.send_code_request(ANNA)

    def sign_in(text: str, phone_code_hash: str = sent.phone_code_hash) -> Any:
        return client(functions.auth.SignInRequest(ANNA, phone_code_hash, text))

    wrong = f"{(int(code(clients)) + 1) % 100000:05}"
    with pytest.raises(errors.PhoneCodeEmptyError):
        await sign_in("")
    with pytest.raises(errors.PhoneCodeExpiredError):
        await sign_in(code(clients), "not the hash")
    for _ in range(5):
        with pytest.raises(errors.PhoneCodeInvalidError):
            await sign_in(wrong)
    with pytest.raises(errors.FloodWaitError):
        await sign_in(code(clients))  # five guesses were too many
    client._flood_waited_requests.clear()
    fresh = await client(functions.auth.SendCodeRequest(ANNA, API_ID, API_HASH, types.CodeSettings()))
    with pytest.raises(errors.PhoneCodeExpiredError):
        await sign_in(code(clients))  # the old hash went with the old code
    clients.twin.world.clock.ahead_s = 301  # type: ignore[attr-defined]
    with pytest.raises(errors.PhoneCodeExpiredError):
        await sign_in(code(clients), fresh.phone_code_hash)
    last = await client(functions.auth.SendCodeRequest(ANNA, API_ID, API_HASH, types.CodeSettings()))
    assert await client(functions.auth.CancelCodeRequest(ANNA, last.phone_code_hash))
    with pytest.raises(errors.PhoneCodeExpiredError):
        await sign_in(code(clients), last.phone_code_hash)


@played
async def test_an_unknown_number_must_sign_up_which_only_the_vendors_apps_may(clients: Clients) -> None:
    client = await clients.connect()
    sent = await client.send_code_request("+9996618888")
    with pytest.raises(errors.PhoneNumberUnoccupiedError):
        await client.sign_in("+9996618888", code(clients, "+9996618888"))
    with pytest.raises(errors.PhoneNumberAppSignupForbiddenError):
        await client(functions.auth.SignUpRequest("+9996618888", sent.phone_code_hash, "New", "One"))


@played
async def test_a_password_is_asked_for_after_the_code_and_proven_without_being_sent(clients: Clients) -> None:
    clients.twin.set_password("Boris", "correct horse", hint="a horse")
    client = await clients.connect()
    await client.send_code_request(BORIS)
    with pytest.raises(errors.SessionPasswordNeededError):
        await client.sign_in(BORIS, code(clients, BORIS))
    with pytest.raises(errors.SessionPasswordNeededError):
        await client(functions.updates.GetStateRequest())
    assert (await client(functions.account.GetPasswordRequest())).hint == "a horse"
    with pytest.raises(errors.PasswordHashInvalidError):
        await client.sign_in(password="wrong horse")
    assert (await client.sign_in(password="correct horse")).first_name == "Boris"


@played
async def test_each_password_question_is_good_for_one_answer_and_guessing_ends(clients: Clients) -> None:
    clients.twin.set_password("Boris", "correct horse")
    clients.twin.world.settings.password_attempts = 1
    client = await clients.connect()
    await client.send_code_request(BORIS)
    with pytest.raises(errors.SessionPasswordNeededError):
        await client.sign_in(BORIS, code(clients, BORIS))
    old = compute_check(await client(functions.account.GetPasswordRequest()), "correct horse")
    await client(functions.account.GetPasswordRequest())
    with pytest.raises(errors.SrpIdInvalidError):
        await client(functions.auth.CheckPasswordRequest(old))
    with pytest.raises(errors.PasswordHashInvalidError):
        await client.sign_in(password="wrong")
    with pytest.raises(errors.PhonePasswordFloodError):
        await client.sign_in(password="correct horse")


@played
async def test_a_bot_signs_in_with_its_token_alone(clients: Clients) -> None:
    token = clients.twin.world.person("helper_bot").token
    client = await clients.connect()
    with pytest.raises(errors.AccessTokenInvalidError):
        await client.sign_in(bot_token="5:wrong")
    me = await client.sign_in(bot_token=token)
    assert (me.bot, me.username) == (True, "helper_bot")


@played
async def test_logging_out_leaves_the_key_without_an_account(clients: Clients) -> None:
    client = await clients.of("Anna")
    session = client.session.save()
    assert await client.log_out()
    again = await clients.connect(session)
    assert not await again.is_user_authorized()
    with pytest.raises(errors.AuthKeyUnregisteredError):
        await again(functions.updates.GetStateRequest())


@played
async def test_a_session_is_listed_and_ended_by_another_that_is_old_enough(clients: Clients) -> None:
    old, new = await clients.of("Anna"), await clients.of("Anna")
    listed = (await old(functions.account.GetAuthorizationsRequest())).authorizations
    assert sorted(one.current for one in listed) == [False, True]
    target = next(one.hash for one in listed if not one.current)
    with pytest.raises(errors.FreshResetAuthorisationForbiddenError):
        await old(functions.account.ResetAuthorizationRequest(target))
    clients.twin.world.clock.ahead_s = 90_000  # type: ignore[attr-defined]
    with pytest.raises(errors.HashInvalidError):
        await old(functions.account.ResetAuthorizationRequest(1))
    assert await old(functions.account.ResetAuthorizationRequest(target))
    with pytest.raises(errors.SessionRevokedError):
        await new.send_message("me", "still here?")
    assert await old(functions.auth.ResetAuthorizationsRequest())


@played
async def test_a_revoked_session_still_connects_but_is_nobody(clients: Clients) -> None:
    session = clients.twin.session_string("Anna")
    assert clients.twin.revoke_sessions("Anna") == 1
    client = await clients.connect(session)
    assert client.is_connected()
    assert not await client.is_user_authorized()
    assert await client.get_me() is None
    with pytest.raises(errors.SessionRevokedError):
        await client(functions.updates.GetStateRequest())


@played
async def test_a_banned_account_is_refused_everywhere(clients: Clients) -> None:
    client = await clients.of("Anna")
    clients.twin.ban_account("Anna")
    with pytest.raises(errors.UserDeactivatedBanError):
        await client(functions.updates.GetStateRequest())
    clients.twin.delete_account("Boris")
    with pytest.raises(errors.UserDeactivatedError):
        await (await clients.of(clients.twin.world.people[1_000_002]))(functions.updates.GetStateRequest())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers on all of 127.0.0.0/8 by itself")
@played
async def test_one_key_at_work_from_two_addresses_is_dead(clients: Clients) -> None:
    session = clients.twin.session_string("Anna")
    home = await clients.connect(session, local_addr="127.0.0.1")
    assert (await home.get_me()).first_name == "Anna"
    with pytest.raises(errors.AuthKeyDuplicatedError):
        await clients.connect(session, local_addr="127.0.0.2")
    with pytest.raises(errors.AuthKeyDuplicatedError):
        await home(functions.updates.GetStateRequest())


@played
async def test_two_lines_from_one_address_are_allowed_unless_the_switch_says_otherwise(clients: Clients) -> None:
    session = clients.twin.session_string("Anna")
    first, second = await clients.connect(session), await clients.connect(session)
    assert await first.get_me()
    assert await second.get_me()
    clients.twin.world.settings.duplicate_key = "connection"
    with pytest.raises(errors.AuthKeyDuplicatedError):
        await second(functions.updates.GetStateRequest())
