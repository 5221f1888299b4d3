"""account.*: sessions, profile, username, privacy."""

from __future__ import annotations

from telethon.tl import functions, types

from sandbox.telegram import views
from sandbox.telegram.errors import refused
from sandbox.telegram.handlers.auth import require_old_session
from sandbox.telegram.model import Audience, Tl
from sandbox.telegram.requests import Call, method
from sandbox.telegram.world import USERNAME

NAME_MAX, ABOUT_MAX = 64, 70
PRIVACY = {types.InputPrivacyKeyAddedByPhone: "added_by_phone", types.InputPrivacyKeyPhoneNumber: "phone_number",
           types.InputPrivacyKeyChatInvite: "chat_invite"}  # fmt: skip
_AUDIENCES: dict[type, Audience] = {
    types.InputPrivacyValueAllowAll: "everybody", types.InputPrivacyValueAllowContacts: "contacts",
    types.InputPrivacyValueDisallowAll: "nobody",
}  # fmt: skip
_RULES = {"everybody": types.PrivacyValueAllowAll, "contacts": types.PrivacyValueAllowContacts,
          "nobody": types.PrivacyValueDisallowAll}  # fmt: skip


@method(functions.account.GetAuthorizationsRequest, users_only=True)
def get_authorizations(call: Call, request: Tl) -> Tl:
    listed = [
        types.Authorization(
            0 if key is call.key else key.hash,
            key.device,
            "",
            key.system,
            key.api_id,
            "Client",
            key.app,
            key.signed_in,
            key.active,
            "127.0.0.1",
            "Netherlands",
            "",
            current=key is call.key,
        )
        for key in call.server.keys_of(call.me.id)
    ]
    return types.account.Authorizations(180, listed)


@method(functions.account.ResetAuthorizationRequest, users_only=True)
def reset_authorization(call: Call, request: Tl) -> Tl:
    for key in call.server.keys_of(call.me.id):
        if key.hash == request.hash and key is not call.key:
            require_old_session(call)
            call.server.end_session(key, "SESSION_REVOKED")
            return True
    raise refused("HASH_INVALID")


@method(functions.account.UpdateProfileRequest, users_only=True)
def update_profile(call: Call, request: Tl) -> Tl:
    me = call.me
    if request.first_name is not None:
        if not 1 <= len(request.first_name.strip()) <= NAME_MAX:
            raise refused("FIRSTNAME_INVALID")
        me.first_name = request.first_name.strip()
    if request.last_name is not None:
        me.last_name = request.last_name.strip()
    if request.about is not None:
        if len(request.about) > ABOUT_MAX:
            raise refused("ABOUT_TOO_LONG")
        me.about = request.about
    call.world.put_person(me)
    call.server.tell(me)
    return views.user(call.world, me, me)


@method(functions.account.UpdateUsernameRequest, users_only=True)
def update_username(call: Call, request: Tl) -> Tl:
    name, me = request.username, call.me
    if name == me.username:
        raise refused("USERNAME_NOT_MODIFIED")
    if name:
        check_username(name)
        if call.world.by_username(name) is not None and name.lower() != me.username.lower():
            raise refused("USERNAME_OCCUPIED")
    call.world.rename(me, name)
    call.server.tell(me)
    return views.user(call.world, me, me)


def check_username(name: str) -> None:
    """5 to 32 of a-z, 0-9 and underscores, beginning with a letter (core.telegram.org/method/account.checkUsername)."""
    if not USERNAME.fullmatch(name):
        raise refused("USERNAME_INVALID")


@method(functions.account.CheckUsernameRequest, users_only=True)
def is_username_free(call: Call, request: Tl) -> Tl:
    check_username(request.username)
    return call.world.by_username(request.username) is None


@method(functions.account.UpdateStatusRequest, users_only=True)
def update_status(call: Call, request: Tl) -> Tl:
    return True


@method(functions.account.GetPrivacyRequest, users_only=True)
def get_privacy(call: Call, request: Tl) -> Tl:
    return _rules(call, request.key)


@method(functions.account.SetPrivacyRequest, users_only=True)
def set_privacy(call: Call, request: Tl) -> Tl:
    """The twin knows everybody, contacts and nobody; rules for single people are refused."""
    chosen = [_AUDIENCES.get(type(rule)) for rule in request.rules]
    if not chosen or None in chosen:
        raise refused("PRIVACY_VALUE_INVALID")
    if type(request.key) not in PRIVACY:
        raise refused("PRIVACY_KEY_INVALID")
    setattr(call.me.privacy, PRIVACY[type(request.key)], chosen[0])
    call.world.put_person(call.me)
    return _rules(call, request.key)


def _rules(call: Call, key: Tl) -> Tl:
    if type(key) not in PRIVACY:
        raise refused("PRIVACY_KEY_INVALID")
    audience = getattr(call.me.privacy, PRIVACY[type(key)])
    return types.account.PrivacyRules([_RULES[audience]()], [], [])
