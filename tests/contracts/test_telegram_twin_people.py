"""People in the loopback Telegram: access hashes, contacts, privacy, profiles, blocking."""

from __future__ import annotations

from typing import Any

import pytest
from telethon import errors, events, functions, types

from tests.contracts.telegram_client import Clients, hear, played


def by_phone(twin: Any, name: str) -> types.InputPhoneContact:
    return types.InputPhoneContact(1, twin.world.person(name).phone, name, "")


@played
async def test_an_access_hash_is_another_for_each_account_and_a_wrong_one_is_refused(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    clara = (await anna.get_input_entity("clara_w")).access_hash
    theirs = (await boris.get_input_entity("clara_w")).access_hash
    assert clara != theirs
    stolen = types.InputPeerUser(clients.twin.world.person("Clara").id, theirs)
    with pytest.raises(errors.PeerIdInvalidError):
        await anna(functions.messages.SendMessageRequest(stolen, "hi"))
    user = types.InputUser(stolen.user_id, theirs)
    assert await anna(functions.users.GetUsersRequest([user, types.InputUserSelf()])) == [await anna.get_me()]
    with pytest.raises(errors.UserIdInvalidError):
        await anna(functions.users.GetFullUserRequest(user))


@played
async def test_contacts_are_imported_listed_renamed_and_deleted(clients: Clients) -> None:
    twin = clients.twin
    anna = await clients.of("Anna")
    result = await anna(
        functions.contacts.ImportContactsRequest(
            [by_phone(twin, "Boris"), types.InputPhoneContact(2, "+4912345678", "Nobody", "")]
        )
    )
    assert [one.client_id for one in result.imported] == [1]
    assert (result.users[0].phone, result.users[0].contact) == ("9996610002", True)
    listed = await anna(functions.contacts.GetContactsRequest(0))
    assert [one.first_name for one in listed.users] == ["Boris"]
    assert [
        one.first_name for one in await anna(functions.users.GetUsersRequest([types.InputUser(listed.users[0].id, 0)]))
    ]
    await anna(functions.contacts.DeleteContactsRequest([listed.users[0]]))
    assert (await anna(functions.contacts.GetContactsRequest(0))).users == []
    await anna(functions.contacts.AddContactRequest("clara_w", "Clarissa", "", ""))
    assert (await anna.get_entity("clara_w")).first_name == "Clarissa"


@played
async def test_more_contacts_than_allowed_come_back_to_be_tried_again(clients: Clients) -> None:
    clients.twin.world.settings.contacts_import_max = 1
    anna = await clients.of("Anna")
    other = types.InputPhoneContact(2, "9996610003", "Clara", "")
    result = await anna(functions.contacts.ImportContactsRequest([by_phone(clients.twin, "Boris"), other]))
    assert result.retry_contacts == [2]


@played
async def test_who_may_not_be_found_by_phone_is_not_found(clients: Clients) -> None:
    twin = clients.twin
    twin.world.person("Boris").privacy.added_by_phone = "contacts"
    anna = await clients.of("Anna")
    assert (await anna(functions.contacts.ImportContactsRequest([by_phone(twin, "Boris")]))).imported == []
    with pytest.raises(errors.PhoneNotOccupiedError):
        await anna(functions.contacts.ResolvePhoneRequest("+9996610002"))
    clara = await anna(functions.contacts.ResolvePhoneRequest("+9996610003"))
    assert (clara.users[0].first_name, clara.users[0].phone) == ("Clara", None)
    boris = await clients.of("Boris")
    await boris(functions.contacts.ImportContactsRequest([by_phone(twin, "Anna")]))
    assert (await anna(functions.contacts.ResolvePhoneRequest("+9996610002"))).users[0].first_name == "Boris"


@played
async def test_people_and_groups_are_found_by_username_and_name(clients: Clients) -> None:
    twin = clients.twin
    group = twin.add_group("megagroup", "Weekly plans", "Anna")
    anna = await clients.of("Anna")
    assert (await anna.get_entity("@Boris_N")).first_name == "Boris"
    with pytest.raises(ValueError, match="nobody_here"):
        await anna.get_entity("nobody_here")
    with pytest.raises(errors.UsernameInvalidError):
        await anna(functions.contacts.ResolveUsernameRequest("no spaces"))
    found = await anna(functions.contacts.SearchRequest("weekly", 10))
    assert [one.channel_id for one in found.my_results] == [group.id]
    assert [one.first_name for one in (await anna(functions.contacts.SearchRequest("boris", 10))).users] == ["Boris"]
    with pytest.raises(errors.QueryTooShortError):
        await anna(functions.contacts.SearchRequest("bo", 10))


@played
async def test_a_profile_and_a_username_are_changed_and_others_learn_it(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    await boris(functions.contacts.ImportContactsRequest([by_phone(clients.twin, "Anna")]))
    heard = hear(boris, events.Raw(types.UpdateUserName))
    me = await anna(functions.account.UpdateProfileRequest(first_name="Anne", about="on holiday"))
    assert me.first_name == "Anne"
    assert (await heard.next()).first_name == "Anne"
    assert (await boris(functions.users.GetFullUserRequest("anna_i"))).full_user.about == "on holiday"
    assert (await anna(functions.account.UpdateUsernameRequest("anne_new"))).username == "anne_new"
    for name, error in (("boris_n", errors.UsernameOccupiedError), ("1abc", errors.UsernameInvalidError),
                        ("anne_new", errors.UsernameNotModifiedError)):  # fmt: skip
        with pytest.raises(error):
            await anna(functions.account.UpdateUsernameRequest(name))
    with pytest.raises(errors.AboutTooLongError):
        await anna(functions.account.UpdateProfileRequest(about="x" * 71))
    with pytest.raises(errors.FirstNameInvalidError):
        await anna(functions.account.UpdateProfileRequest(first_name=" "))


@played
async def test_privacy_is_set_by_its_owner(clients: Clients) -> None:
    anna = await clients.of("Anna")
    key = types.InputPrivacyKeyChatInvite()
    rules = await anna(functions.account.SetPrivacyRequest(key, [types.InputPrivacyValueAllowContacts()]))
    assert isinstance(rules.rules[0], types.PrivacyValueAllowContacts)
    assert clients.twin.world.person("Anna").privacy.chat_invite == "contacts"
    assert (await anna(functions.account.GetPrivacyRequest(key))).to_dict() == rules.to_dict()


@played
async def test_who_blocked_and_who_is_blocked_get_different_refusals(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    to_anna, to_boris = await boris.get_input_entity("anna_i"), await anna.get_input_entity("boris_n")
    assert await anna(functions.contacts.BlockRequest(to_boris))
    assert [one.peer_id.user_id for one in (await anna(functions.contacts.GetBlockedRequest(0, 10))).blocked] == [
        to_boris.user_id
    ]
    assert (await anna(functions.users.GetFullUserRequest(to_boris))).full_user.blocked
    with pytest.raises(errors.UserIsBlockedError):
        await boris.send_message(to_anna, "hello?")
    with pytest.raises(errors.YouBlockedUserError):
        await anna.send_message(to_boris, "hello?")
    clients.twin.world.settings.blocked = "silent"
    await boris.send_message(to_anna, "into the void")
    assert clients.twin.texts("Boris", "Anna") == ["into the void"]
    assert clients.twin.texts("Anna", "Boris") == []
    assert await anna(functions.contacts.UnblockRequest(to_boris))
    await boris.send_message(to_anna, "again")
    assert clients.twin.texts("Anna", "Boris") == ["again"]


@played
async def test_strangers_cannot_write_to_whom_only_contacts_may(clients: Clients) -> None:
    twin = clients.twin
    twin.world.person("Boris").privacy.write = "contacts"
    anna = await clients.of("Anna")
    boris = await anna.get_input_entity("boris_n")
    with pytest.raises(errors.ForbiddenError, match="PRIVACY_PREMIUM_REQUIRED"):
        await anna.send_message(boris, "hello")
    await (await clients.of("Boris"))(functions.contacts.ImportContactsRequest([by_phone(twin, "Anna")]))
    await anna.send_message(boris, "hello")


@played
async def test_a_deleted_person_is_shown_as_deleted_and_gets_nothing(clients: Clients) -> None:
    anna = await clients.of("Anna")
    boris = await anna.get_input_entity("boris_n")
    clients.twin.delete_account("Boris")
    assert (await anna(functions.users.GetUsersRequest([boris])))[0].deleted
    with pytest.raises(errors.InputUserDeactivatedError):
        await anna.send_message(boris, "hello?")


@played
async def test_the_bar_above_a_strangers_chat_offers_to_add_and_report(clients: Clients) -> None:
    clients.twin.write_as("Boris", "Anna", "hi")
    anna = await clients.of("Anna")
    bar = (await anna(functions.messages.GetPeerSettingsRequest("boris_n"))).settings
    assert (bar.add_contact, bar.report_spam, bar.block_contact) == (True, True, True)
    await anna(functions.contacts.AddContactRequest("boris_n", "Boris", "", ""))
    bar = (await anna(functions.messages.GetPeerSettingsRequest("boris_n"))).settings
    assert not bar.add_contact
