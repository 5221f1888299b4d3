"""auth.*: codes, passwords, bot tokens, and the end of sessions (core.telegram.org/api/auth, core.telegram.org/api/srp)."""

from __future__ import annotations

import math
import secrets

from telethon.tl import functions, types

from sandbox.telegram import actions, views
from sandbox.telegram.errors import refused
from sandbox.telegram.model import Peer, Person, SentCode, Tl
from sandbox.telegram.requests import Call, method
from sandbox.telegram.srp import Challenge, algorithm
from sandbox.telegram.world import PHONE, SERVICE_ID

CODE_LENGTH = 5
FLOOD_WAIT_S = 300
DAY_S = 86_400


def _digits(phone: str) -> str:
    number = phone.translate({ord(sign): None for sign in "+ ()-"})
    if not PHONE.fullmatch(number):
        raise refused("PHONE_NUMBER_INVALID")
    return number


def check_app(call: Call, api_id: int, api_hash: str) -> None:
    if call.world.apps.get(api_id) != api_hash:
        raise refused("API_ID_INVALID")


# --- codes ------------------------------------------------------------------------------------------------------------


@method(functions.auth.SendCodeRequest, signed_in=False)
def send_code(call: Call, request: Tl) -> Tl:
    check_app(call, request.api_id, request.api_hash)
    phone = _digits(request.phone_number)
    if phone in call.world.banned_phones:
        raise refused("PHONE_NUMBER_BANNED")
    today = [one for one in call.world.codes if one.phone == phone and one.date > call.world.clock() - DAY_S]
    if sum(1 + one.resends for one in today) >= call.world.settings.codes_per_day:
        raise refused("PHONE_NUMBER_FLOOD")
    person = call.world.by_phone(phone)
    elsewhere = person is not None and any(key is not call.key for key in call.server.keys_of(person.id))
    sent = SentCode(phone, "", secrets.token_hex(9), "app" if elsewhere else "sms", call.world.clock(), request.api_id)
    for old in today:
        old.cancelled = True
    call.world.codes.append(sent)
    return _deliver(call, sent, person)


def _deliver(call: Call, sent: SentCode, person: Person | None) -> Tl:
    """A fresh code by app (a message of 777000 to the other sessions) or by SMS, and what the client is told."""
    sent.code = f"{secrets.randbelow(10**CODE_LENGTH):0{CODE_LENGTH}}"
    sent.date = call.world.clock()
    sent.attempts = 0
    if sent.via == "app" and person is not None:
        text = f"Login code: {sent.code}. Do not give this code to anyone, even if they say they are from Telegram!"
        service = call.world.people[SERVICE_ID]
        actions.post(call.server, service, Peer("user", person.id), actions.Draft(text))
        kind = types.auth.SentCodeTypeApp(CODE_LENGTH)
        return types.auth.SentCode(
            kind, sent.hash, next_type=types.auth.CodeTypeSms(), timeout=call.world.settings.code_timeout_s
        )
    return types.auth.SentCode(types.auth.SentCodeTypeSms(CODE_LENGTH), sent.hash, timeout=None)


def _find_code(call: Call, phone: str, code_hash: str) -> SentCode:
    """The code on its way with that hash; PHONE_CODE_EXPIRED for an old, used or unknown one."""
    number = _digits(phone)
    if not code_hash:
        raise refused("PHONE_CODE_HASH_EMPTY")
    for sent in reversed(call.world.codes):
        if sent.phone == number and sent.hash == code_hash:
            old = call.world.clock() - sent.date > call.world.settings.code_valid_s
            if old or sent.cancelled or sent.used:
                break
            return sent
    raise refused("PHONE_CODE_EXPIRED")


@method(functions.auth.ResendCodeRequest, signed_in=False)
def resend_code(call: Call, request: Tl) -> Tl:
    sent = _find_code(call, request.phone_number, request.phone_code_hash)
    if sent.via == "sms":
        raise refused("SEND_CODE_UNAVAILABLE")  # there is no further way
    # `timeout` is the wait before the next way (core.telegram.org/constructor/auth.sentCode); the vendor names no error of its
    # own for an earlier call, so it is the general one for whoever is too fast (core.telegram.org/api/errors#420-flood)
    wait_s = sent.date + call.world.settings.code_timeout_s - call.world.clock()
    if wait_s > 0:
        raise refused(f"FLOOD_WAIT_{math.ceil(wait_s)}")
    sent.via = "sms"
    sent.resends += 1
    return _deliver(call, sent, call.world.by_phone(sent.phone))


@method(functions.auth.CancelCodeRequest, signed_in=False)
def cancel_code(call: Call, request: Tl) -> Tl:
    _find_code(call, request.phone_number, request.phone_code_hash).cancelled = True
    return True


@method(functions.auth.SignInRequest, signed_in=False)
def sign_in(call: Call, request: Tl) -> Tl:
    if not request.phone_code:
        raise refused("PHONE_CODE_EMPTY")
    sent = _find_code(call, request.phone_number, request.phone_code_hash)
    if sent.attempts >= call.world.settings.code_attempts:
        raise refused(f"FLOOD_WAIT_{FLOOD_WAIT_S}")
    if request.phone_code != sent.code:
        sent.attempts += 1
        raise refused("PHONE_CODE_INVALID")
    person = call.world.by_phone(sent.phone)
    if person is None:
        return types.auth.AuthorizationSignUpRequired()
    if person.banned:
        raise refused("USER_DEACTIVATED_BAN")
    sent.used = True
    if person.password is not None:
        call.key.pending_user_id = person.id
        call.world.record("key", call.key)
        raise refused("SESSION_PASSWORD_NEEDED")
    return _let_in(call, person)


@method(functions.auth.SignUpRequest, signed_in=False)
def sign_up(call: Call, request: Tl) -> Tl:
    """Only the vendor's own apps may register people (core.telegram.org/method/auth.signUp)."""
    raise refused("PHONE_NUMBER_APP_SIGNUP_FORBIDDEN")


def _let_in(call: Call, person: Person) -> Tl:
    key = call.key
    key.user_id, key.pending_user_id, key.refusal = person.id, 0, ""
    key.signed_in = key.active = call.world.now()
    call.world.record("key", key)
    call.server.subscribe(call.connection, person.id)
    return types.auth.Authorization(views.user(call.world, person, person))


# --- passwords --------------------------------------------------------------------------------------------------------


def _who_signs_in(call: Call) -> Person:
    number = call.key.user_id or call.key.pending_user_id
    if not number:
        raise refused("AUTH_KEY_UNREGISTERED")
    return call.world.people[number]


@method(functions.account.GetPasswordRequest, signed_in=False)
def get_password(call: Call, request: Tl) -> Tl:
    """A new question each time, and the algorithm for a password to be set."""
    person = _who_signs_in(call)
    if call.key.user_id and person.is_bot:
        raise refused("BOT_METHOD_INVALID")
    new = algorithm(secrets.token_bytes(8), b"")
    secure = types.SecurePasswordKdfAlgoPBKDF2HMACSHA512iter100000(secrets.token_bytes(8))
    password = person.password
    if password is None:
        return types.account.Password(new, secure, secrets.token_bytes(256))
    question = call.server.challenges[call.key.id] = Challenge(password)
    return types.account.Password(
        new,
        secure,
        secrets.token_bytes(256),
        has_password=True,
        current_algo=algorithm(password.salt1, password.salt2),
        srp_B=question.public.to_bytes(256, "big"),
        srp_id=question.id,
        hint=password.hint or None,
    )


@method(functions.auth.CheckPasswordRequest, signed_in=False)
def check_password(call: Call, request: Tl) -> Tl:
    person = _who_signs_in(call)
    if person.password is None or not isinstance(request.password, types.InputCheckPasswordSRP):
        raise refused("PASSWORD_HASH_INVALID")
    failures = call.server.password_failures
    if failures[person.id] >= call.world.settings.password_attempts:
        raise refused("PHONE_PASSWORD_FLOOD")
    question = call.server.challenges.pop(call.key.id, None)
    if question is None or question.id != request.password.srp_id:
        raise refused("SRP_ID_INVALID")
    if question.password is not person.password:
        raise refused("SRP_PASSWORD_CHANGED")
    if not question.proves(request.password.A, request.password.M1):
        failures[person.id] += 1
        raise refused("PASSWORD_HASH_INVALID")
    failures.pop(person.id, None)
    return _let_in(call, person)


# --- bots, and the end ------------------------------------------------------------------------------------------------


@method(functions.auth.ImportBotAuthorizationRequest, signed_in=False)
def import_bot_authorization(call: Call, request: Tl) -> Tl:
    check_app(call, request.api_id, request.api_hash)
    bot = call.world.by_token(request.bot_auth_token)
    if bot is None:
        raise refused("ACCESS_TOKEN_INVALID")
    if bot.deleted:
        raise refused("ACCESS_TOKEN_EXPIRED")
    return _let_in(call, bot)


@method(functions.auth.LogOutRequest)
def log_out(call: Call, request: Tl) -> Tl:
    call.key.user_id = 0
    call.key.refusal = ""
    call.world.record("key", call.key)
    call.server.unsubscribe(call.connection)
    return types.auth.LoggedOut()


@method(functions.auth.ResetAuthorizationsRequest, users_only=True)
def reset_authorizations(call: Call, request: Tl) -> Tl:
    """Ends all other sessions of the account."""
    require_old_session(call)
    for key in call.server.keys_of(call.me.id):
        if key is not call.key:
            call.server.end_session(key, "SESSION_REVOKED")
    return True


def require_old_session(call: Call) -> None:
    """A session younger than a day may not end others: FRESH_RESET_AUTHORISATION_FORBIDDEN."""
    if call.world.now() - call.key.signed_in < call.world.settings.fresh_session_s:
        raise refused("FRESH_RESET_AUTHORISATION_FORBIDDEN")
