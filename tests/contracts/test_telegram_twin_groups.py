"""Groups, supergroups and channels in the loopback Telegram: members, rights, links, requests to join."""

from __future__ import annotations

from typing import Any

import pytest
from telethon import errors, events, functions, types

from tests.contracts.telegram_client import Clients, hear, played


async def befriend(clients: Clients, client: Any, *names: str) -> None:
    """Put people into the client's address book."""
    wanted = [
        types.InputPhoneContact(number, clients.twin.world.person(name).phone, name, "")
        for number, name in enumerate(names)
    ]
    await client(functions.contacts.ImportContactsRequest(wanted))


async def new_group(client: Any, *users: str, title: str = "Plans") -> int:
    answer = await client(functions.messages.CreateChatRequest(list(users), title))
    return int(answer.updates.chats[0].id)


async def new_channel(client: Any, *, megagroup: bool = True) -> types.Channel:
    answer = await client(
        functions.channels.CreateChannelRequest("Big plans", "about", megagroup=megagroup, broadcast=not megagroup)
    )
    return answer.chats[0]


# --- basic groups -----------------------------------------------------------------------------------------------------


@played
async def test_a_group_is_made_joined_written_in_and_left(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    came, heard = hear(boris, events.ChatAction()), hear(boris)
    group = await new_group(anna, "boris_n")
    assert (await came.next()).created
    await anna.send_message(-group, "welcome")
    assert (await heard.next()).raw_text == "welcome"
    await anna(functions.messages.AddChatUserRequest(group, "clara_w", 0))
    assert (await came.next()).user_added
    people = {one.first_name: type(one.participant).__name__ for one in await boris.get_participants(-group)}
    assert people == {"Anna": "ChatParticipantCreator", "Boris": "ChatParticipant", "Clara": "ChatParticipant"}
    with pytest.raises(errors.UserAlreadyParticipantError):
        await anna(functions.messages.AddChatUserRequest(group, "clara_w", 0))
    with pytest.raises(errors.ChatAdminRequiredError):
        await boris.kick_participant(-group, "clara_w")
    await anna.kick_participant(-group, "clara_w")
    assert (await came.next()).user_kicked
    with pytest.raises(errors.UserNotParticipantError):
        await anna.kick_participant(-group, "clara_w")
    await boris.kick_participant(-group, "me")
    assert [one.first_name for one in await anna.get_participants(-group)] == ["Anna"]
    with pytest.raises(errors.ChatWriteForbiddenError):
        await boris.send_message(-group, "hello?")


@played
async def test_who_does_not_let_strangers_add_them_is_reported_as_missing(clients: Clients) -> None:
    twin = clients.twin
    twin.world.person("Boris").privacy.chat_invite = "contacts"
    anna = await clients.of("Anna")
    answer = await anna(functions.messages.CreateChatRequest(["boris_n", "clara_w"], "Plans"))
    shy = twin.world.person("Boris").id
    assert [one.user_id for one in answer.missing_invitees] == [shy]
    group = answer.updates.chats[0].id
    assert shy not in twin.world.groups[group].members
    again = await anna(functions.messages.AddChatUserRequest(group, "boris_n", 0))
    assert [one.user_id for one in again.missing_invitees] == [shy]
    channel = await new_channel(anna)
    asked = await anna(functions.channels.InviteToChannelRequest(channel, ["boris_n", "clara_w"]))
    assert [one.user_id for one in asked.missing_invitees] == [shy]
    twin.world.settings.privacy_refusal = "error"
    with pytest.raises(errors.UserPrivacyRestrictedError):
        await anna(functions.messages.AddChatUserRequest(group, "boris_n", 0))
    await befriend(clients, await clients.of("Boris"), "Anna")
    await anna(functions.messages.AddChatUserRequest(group, "boris_n", 0))
    assert shy in twin.world.groups[group].members


@played
async def test_who_left_comes_back_only_by_a_mutual_contact(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    group = await new_group(anna, "boris_n")
    await boris.kick_participant(-group, "me")
    with pytest.raises(errors.UserNotMutualContactError):
        await anna(functions.messages.AddChatUserRequest(group, "boris_n", 0))
    await befriend(clients, anna, "Boris")
    await befriend(clients, boris, "Anna")
    await anna(functions.messages.AddChatUserRequest(group, "boris_n", 0))


@played
async def test_a_group_needs_a_title_a_member_and_room(clients: Clients) -> None:
    anna = await clients.of("Anna")
    with pytest.raises(errors.UsersTooFewError):
        await new_group(anna)
    with pytest.raises(errors.ChatTitleEmptyError):
        await new_group(anna, "boris_n", title=" ")
    clients.twin.world.settings.chat_size_max = 2
    with pytest.raises(errors.UsersTooMuchError):
        await new_group(anna, "boris_n", "clara_w")
    group = await new_group(anna, "boris_n")
    with pytest.raises(errors.UsersTooMuchError):
        await anna(functions.messages.AddChatUserRequest(group, "clara_w", 0))
    clients.twin.delete_account("Clara")
    with pytest.raises(errors.UserIdInvalidError):
        await anna(functions.messages.AddChatUserRequest(group, types.InputUser(1, 1), 0))
    with pytest.raises(errors.ChatIdInvalidError):
        await anna(functions.messages.GetFullChatRequest(1))


@played
async def test_titles_and_admins_of_a_group_change(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    group = await new_group(anna, "boris_n", "clara_w")
    heard = hear(boris, events.ChatAction(func=lambda event: not event.created))
    await anna(functions.messages.EditChatTitleRequest(group, "New plans"))
    assert (await heard.next()).new_title == "New plans"
    with pytest.raises(errors.ChatNotModifiedError):
        await anna(functions.messages.EditChatTitleRequest(group, "New plans"))
    assert await anna(functions.messages.EditChatAdminRequest(group, "boris_n", True))
    assert (await boris.get_permissions(-group, "me")).is_admin
    await boris.kick_participant(-group, "clara_w")
    with pytest.raises(errors.ChatAdminRequiredError):
        await boris(functions.messages.EditChatAdminRequest(group, "anna_i", False))


@played
async def test_a_group_becomes_a_supergroup_and_the_old_one_is_closed(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    group = await new_group(anna, "boris_n")
    answer = await anna(functions.messages.MigrateChatRequest(group))
    old = next(one for one in answer.chats if isinstance(one, types.Chat))
    new = next(one for one in answer.chats if isinstance(one, types.Channel))
    assert (old.deactivated, old.migrated_to.channel_id, new.megagroup) == (True, new.id, True)
    await boris.get_dialogs()
    assert {one.first_name for one in await boris.get_participants(new.id)} == {"Anna", "Boris"}
    with pytest.raises(errors.ChatWriteForbiddenError):
        await anna.send_message(-group, "anyone?")


# --- supergroups and channels -----------------------------------------------------------------------------------------


@played
async def test_a_supergroup_shares_one_numbering_of_messages(clients: Clients) -> None:
    twin = clients.twin
    group = twin.add_group("megagroup", "Team", "Anna", "Boris", "Clara")
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    await boris.get_dialogs()
    await anna.get_dialogs()
    heard, read = hear(boris), hear(anna, events.MessageRead())
    sent = await anna.send_message(group.id, "hello team")
    event = await heard.next()
    assert (event.id, event.chat.title, event.is_group) == (sent.id, "Team", True)
    await boris.send_read_acknowledge(group.id)
    assert (await read.next()).max_id == sent.id
    edited, deleted = hear(boris, events.MessageEdited()), hear(boris, events.MessageDeleted())
    await anna.edit_message(sent, "hello all")
    assert (await edited.next()).raw_text == "hello all"
    with pytest.raises(errors.MessageDeleteForbiddenError):
        await boris.delete_messages(group.id, sent.id)
    await anna.delete_messages(group.id, sent.id)
    assert (await deleted.next()).deleted_ids == [sent.id]
    assert [one.raw_text async for one in boris.iter_messages(group.id)] == []


@played
async def test_members_of_a_supergroup_are_listed_in_pages_and_by_kind(clients: Clients) -> None:
    twin = clients.twin
    people = [twin.add_person(f"Person {number}") for number in range(205)]
    group = twin.add_group("megagroup", "Team", "Anna", "Boris", "helper_bot", *people)
    anna = await clients.of("Anna")
    await anna.get_dialogs()
    assert len(await anna.get_participants(group.id)) == 208
    one = await anna(
        functions.channels.GetParticipantsRequest(group.id, types.ChannelParticipantsRecent(), 200, 200, 0)
    )
    assert (one.count, len(one.participants), len(one.users)) == (208, 8, 8)
    kinds = ((types.ChannelParticipantsAdmins(), ["Anna"]), (types.ChannelParticipantsBots(), ["Helper"]),
             (types.ChannelParticipantsSearch("boris"), ["Boris"]))  # fmt: skip
    for wanted, names in kinds:
        found = await anna(functions.channels.GetParticipantsRequest(group.id, wanted, 0, 200, 0))
        assert [user.first_name for user in found.users] == names


@played
async def test_admins_get_rights_and_use_no_others(clients: Clients) -> None:
    twin = clients.twin
    anna, boris, clara = [await clients.of(name) for name in ("Anna", "Boris", "Clara")]
    group = twin.add_group("megagroup", "Team", "Anna", "Boris", "Clara")
    for client in (anna, boris, clara):
        await client.get_dialogs()
    with pytest.raises(errors.ChatAdminRequiredError):
        await boris.kick_participant(group.id, "clara_w")
    await anna.edit_admin(group.id, "boris_n", ban_users=True, add_admins=True, title="keeper")
    asked = await anna(functions.channels.GetParticipantRequest(group.id, "boris_n"))
    assert (asked.participant.admin_rights.ban_users, asked.participant.rank) == (True, "keeper")
    with pytest.raises(errors.RightForbiddenError):
        await boris.edit_admin(group.id, "clara_w", change_info=True)
    with pytest.raises(errors.UserCreatorError):
        await boris.edit_admin(group.id, "anna_i", ban_users=True)
    await boris.kick_participant(group.id, "clara_w")
    with pytest.raises(errors.ChannelPrivateError):
        await clara.send_message(group.id, "hello?")
    with pytest.raises(errors.UserNotParticipantError):
        await anna(functions.channels.GetParticipantRequest(group.id, "clara_w"))


@played
async def test_a_banned_member_is_out_until_the_ban_is_lifted(clients: Clients) -> None:
    group = clients.twin.add_group("megagroup", "Team", "Anna", "Boris")
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    await anna.get_dialogs()
    await boris.get_dialogs()
    await anna.edit_permissions(group.id, "boris_n", view_messages=False)
    with pytest.raises(errors.ChannelPrivateError):
        await boris.send_message(group.id, "hello?")
    with pytest.raises(errors.UserKickedError):
        await anna(functions.channels.InviteToChannelRequest(group.id, ["boris_n"]))
    await anna.edit_permissions(group.id, "boris_n")
    await anna(functions.channels.InviteToChannelRequest(group.id, ["boris_n"]))
    await anna.edit_permissions(group.id, "boris_n", send_messages=False)
    with pytest.raises(errors.UserBannedInChannelError):
        await boris.send_message(group.id, "hello?")


@played
async def test_what_a_group_forbids_and_its_slow_mode_bind_plain_members(clients: Clients) -> None:
    group = clients.twin.add_group("megagroup", "Team", "Anna", "Boris")
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    await anna.get_dialogs()
    await boris.get_dialogs()
    await anna(functions.channels.ToggleSlowModeRequest(group.id, 30))
    await boris.send_message(group.id, "first")
    with pytest.raises(errors.SlowModeWaitError) as slow:
        await boris.send_message(group.id, "second")
    assert 1 <= slow.value.seconds <= 30
    await anna.send_message(group.id, "one")
    await anna.send_message(group.id, "two")
    await anna.edit_permissions(group.id, send_messages=False)
    with pytest.raises(errors.ChatWriteForbiddenError):
        await boris.send_message(group.id, "third")
    await anna.send_message(group.id, "three")


@played
async def test_only_admins_write_in_a_channel(clients: Clients) -> None:
    channel = clients.twin.add_group("broadcast", "News", "Anna", "Boris")
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    await anna.get_dialogs()
    await boris.get_dialogs()
    heard = hear(boris)
    await anna.send_message(channel.id, "breaking")
    event = await heard.next()
    assert (event.is_channel, event.message.post, event.sender_id) == (True, True, event.chat_id)
    with pytest.raises(errors.ChatAdminRequiredError):
        await boris.send_message(channel.id, "me too")
    with pytest.raises(errors.ChatAdminRequiredError):
        await boris.get_participants(channel.id)


@played
async def test_a_public_group_is_joined_and_left_by_name(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    group = await new_channel(anna)
    stranger = types.InputChannel(group.id, clients.twin.world.access_hash(1_000_002, "channel", group.id))
    with pytest.raises(errors.ChannelPrivateError):
        await boris(functions.channels.JoinChannelRequest(stranger))
    with pytest.raises(errors.ChannelInvalidError):
        await boris(functions.channels.JoinChannelRequest(types.InputChannel(group.id, group.access_hash)))
    await anna(functions.channels.UpdateUsernameRequest(group, "big_plans"))
    with pytest.raises(errors.ChatGuestSendForbiddenError):
        await boris.send_message("big_plans", "from outside")
    await boris(functions.channels.JoinChannelRequest("big_plans"))
    with pytest.raises(errors.UserAlreadyParticipantError):
        await boris(functions.channels.JoinChannelRequest("big_plans"))
    await boris.send_message("big_plans", "from inside")
    full = (await anna(functions.channels.GetFullChannelRequest(group))).full_chat
    assert (full.participants_count, full.about) == (2, "about")
    await boris(functions.channels.LeaveChannelRequest("big_plans"))
    with pytest.raises(errors.UserNotParticipantError):
        await boris(functions.channels.LeaveChannelRequest("big_plans"))
    with pytest.raises(errors.UserCreatorError):
        await anna(functions.channels.LeaveChannelRequest(group))
    await anna(functions.channels.EditTitleRequest(group, "Bigger plans"))
    assert (await anna(functions.channels.GetChannelsRequest([group]))).chats[0].title == "Bigger plans"


# --- links ------------------------------------------------------------------------------------------------------------


def hash_of(link: str) -> str:
    return link.rpartition("+")[2]


@pytest.mark.parametrize("kind", ["chat", "megagroup", "broadcast"])
def test_a_link_shows_the_group_lets_in_and_is_revoked(telegram_twin: Any, kind: Any) -> None:
    @played
    async def scene(clients: Clients) -> None:
        group = clients.twin.add_group(kind, "Team", "Anna")
        anna, boris, clara = [await clients.of(name) for name in ("Anna", "Boris", "Clara")]
        place = await _place(anna, group)
        invite = await anna(functions.messages.ExportChatInviteRequest(place))
        seen = await boris(functions.messages.CheckChatInviteRequest(hash_of(invite.link)))
        assert (seen.title, seen.participants_count) == ("Team", 1)
        joined = await boris(functions.messages.ImportChatInviteRequest(hash_of(invite.link)))
        assert joined.updates.chats[0].title == "Team"
        seen = await boris(functions.messages.CheckChatInviteRequest(hash_of(invite.link)))
        assert isinstance(seen, types.ChatInviteAlready)
        with pytest.raises(errors.UserAlreadyParticipantError):
            await boris(functions.messages.ImportChatInviteRequest(hash_of(invite.link)))
        again = await anna(functions.messages.ExportChatInviteRequest(place))  # the permanent link is a new one
        with pytest.raises(errors.InviteHashExpiredError):
            await clara(functions.messages.ImportChatInviteRequest(hash_of(invite.link)))
        edited = await anna(functions.messages.EditExportedChatInviteRequest(place, again.link, revoked=True))
        assert edited.invite.revoked
        listed = await anna(functions.messages.GetExportedChatInvitesRequest(place, "me", 10, revoked=True))
        assert listed.count == 2

    scene(telegram_twin)


async def _place(client: Any, group: Any) -> Any:
    await client.get_dialogs()
    if group.kind == "chat":
        return types.InputPeerChat(group.id)
    return await client.get_input_entity(group.id)


@played
async def test_links_have_ends_and_wrong_ones_are_refused(clients: Clients) -> None:
    group = clients.twin.add_group("megagroup", "Team", "Anna")
    anna, boris, clara = [await clients.of(name) for name in ("Anna", "Boris", "Clara")]
    place = await _place(anna, group)
    once = await anna(functions.messages.ExportChatInviteRequest(place, usage_limit=1, title="for one"))
    await boris(functions.messages.ImportChatInviteRequest(hash_of(once.link)))
    for client, invite, error in ((clara, hash_of(once.link), errors.InviteHashExpiredError),
                                  (clara, "never-made", errors.InviteHashInvalidError),
                                  (clara, "", errors.InviteHashEmptyError)):  # fmt: skip
        with pytest.raises(error):
            await client(functions.messages.ImportChatInviteRequest(invite))
    with pytest.raises(errors.ChatAdminRequiredError):
        await boris(functions.messages.ExportChatInviteRequest(await _place(boris, group)))
    with pytest.raises(errors.UsageLimitInvalidError):
        await anna(functions.messages.ExportChatInviteRequest(place, usage_limit=1, request_needed=True))


@pytest.mark.parametrize("approved", [True, False])
def test_who_asks_to_join_waits_for_an_admin(telegram_twin: Any, approved: bool) -> None:
    @played
    async def scene(clients: Clients) -> None:
        group = clients.twin.add_group("megagroup", "Team", "Anna")
        anna, boris = await clients.of("Anna"), await clients.of("Boris")
        place = await _place(anna, group)
        told = hear(anna, events.Raw(types.UpdatePendingJoinRequests))
        invite = await anna(functions.messages.ExportChatInviteRequest(place, request_needed=True))
        with pytest.raises(errors.InviteRequestSentError):
            await boris(functions.messages.ImportChatInviteRequest(hash_of(invite.link)))
        assert (await told.next()).requests_pending == 1
        asked = functions.messages.GetChatInviteImportersRequest(
            place, None, types.InputUserEmpty(), 10, requested=True
        )
        waiting = await anna(asked)
        assert [one.first_name for one in waiting.users] == ["Boris"]
        await anna(functions.messages.HideChatJoinRequestRequest(place, waiting.users[0], approved=approved))
        names = [one.first_name for one in await anna.get_participants(group.id)]
        assert names == (["Anna", "Boris"] if approved else ["Anna"])
        again = errors.UserAlreadyParticipantError if approved else errors.HideRequesterMissingError
        with pytest.raises(again):
            await anna(functions.messages.HideChatJoinRequestRequest(place, waiting.users[0], approved=True))

    scene(telegram_twin)
