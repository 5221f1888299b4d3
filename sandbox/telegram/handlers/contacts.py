"""contacts.*: the address book, looking people up, blocking (core.telegram.org/api/contacts)."""

from __future__ import annotations

from telethon.tl import functions, types

from sandbox.telegram import peers, views
from sandbox.telegram.errors import refused
from sandbox.telegram.model import Contact, Peer, Person, Tl
from sandbox.telegram.requests import Call, method

QUERY_MIN = 3


@method(functions.contacts.ImportContactsRequest, users_only=True)
def import_contacts(call: Call, request: Tl) -> Tl:
    """Who hides from being found by phone is simply not among the answers; too many at once come back to be retried."""
    imported, cast = [], call.cast()
    limit = call.world.settings.contacts_import_max
    for given in request.contacts[:limit]:
        phone = "".join(sign for sign in given.phone if sign.isdigit())
        person = call.world.by_phone(phone)
        if person is None or not views.allows(person.privacy.added_by_phone, person, call.me):
            continue
        call.me.contacts[person.id] = Contact(given.first_name or person.first_name, given.last_name, phone)
        imported.append(types.ImportedContact(person.id, given.client_id))
        cast.add(person.id)
    call.world.put_person(call.me)
    later = [given.client_id for given in request.contacts[limit:]]
    return types.contacts.ImportedContacts(imported, [], later, cast.users())


@method(functions.contacts.AddContactRequest, users_only=True)
def add_contact(call: Call, request: Tl) -> Tl:
    person = peers.person(call, request.id, "CONTACT_ID_INVALID")
    if not request.first_name.strip():
        raise refused("CONTACT_NAME_EMPTY")
    phone = "".join(sign for sign in request.phone if sign.isdigit())
    call.me.contacts[person.id] = Contact(request.first_name, request.last_name, phone)
    call.world.put_person(call.me)
    call.stage.plain(call.me.id, types.UpdatePeerSettings(types.PeerUser(person.id), types.PeerSettings()), person.id)
    return call.updates()


@method(functions.contacts.GetContactsRequest, users_only=True)
def get_contacts(call: Call, request: Tl) -> Tl:
    known = call.me.contacts
    listed = [types.Contact(number, call.me.id in call.world.people[number].contacts) for number in known]
    return types.contacts.Contacts(listed, len(listed), call.cast().add(*known).users())


@method(functions.contacts.DeleteContactsRequest, users_only=True)
def delete_contacts(call: Call, request: Tl) -> Tl:
    for given in request.id:
        person = peers.person(call, given, "CONTACT_ID_INVALID")
        call.me.contacts.pop(person.id, None)
        call.stage.plain(
            call.me.id,
            types.UpdatePeerSettings(types.PeerUser(person.id), types.PeerSettings(add_contact=True)),
            person.id,
        )
    call.world.put_person(call.me)
    return call.updates()


@method(functions.contacts.ResolveUsernameRequest)
def resolve_username(call: Call, request: Tl) -> Tl:
    name = request.username.removeprefix("@")
    if not name or not all(sign.isascii() and (sign.isalnum() or sign == "_") for sign in name):
        raise refused("USERNAME_INVALID")
    found = call.world.by_username(name)
    if found is None:
        raise refused("USERNAME_NOT_OCCUPIED")
    return _resolved(call, found)


@method(functions.contacts.ResolvePhoneRequest, users_only=True)
def resolve_phone(call: Call, request: Tl) -> Tl:
    """PHONE_NOT_OCCUPIED also for people whose privacy hides them."""
    person = call.world.by_phone("".join(sign for sign in request.phone if sign.isdigit()))
    if person is None or not views.allows(person.privacy.added_by_phone, person, call.me):
        raise refused("PHONE_NOT_OCCUPIED")
    return _resolved(call, Peer("user", person.id))


def _resolved(call: Call, found: Peer) -> Tl:
    cast = call.cast().add(found)
    return types.contacts.ResolvedPeer(views.peer(found), cast.chats(), cast.users())


@method(functions.contacts.SearchRequest, users_only=True)
def search(call: Call, request: Tl) -> Tl:
    """Own contacts and groups by name, everyone else by username."""
    query = request.q.strip().removeprefix("@").lower()
    if not query:
        raise refused("SEARCH_QUERY_EMPTY")
    if len(query) < QUERY_MIN:
        raise refused("QUERY_TOO_SHORT")
    world, me = call.world, call.me
    mine = [Peer("user", number) for number, contact in me.contacts.items()
            if query in f"{contact.first_name} {contact.last_name}".lower()]  # fmt: skip
    mine += [group.peer for group in world.groups_of(me.id) if query in group.title.lower()]
    others: list[Peer] = [Peer("user", one.id) for one in world.people.values()
                          if one.username and query in one.username.lower() and not one.deleted]  # fmt: skip
    others += [group.peer for group in world.groups.values() if group.username and query in group.username.lower()]
    mine, others = mine[: request.limit], [one for one in others if one not in mine][: request.limit]
    cast = call.cast().add(*mine, *others)
    return types.contacts.Found(
        [views.peer(one) for one in mine], [views.peer(one) for one in others], cast.chats(), cast.users()
    )


@method(functions.contacts.BlockRequest, users_only=True)
def block(call: Call, request: Tl) -> Tl:
    return _set_blocked(call, peers.person(call, request.id, "CONTACT_ID_INVALID"), blocked=True)


@method(functions.contacts.UnblockRequest, users_only=True)
def unblock(call: Call, request: Tl) -> Tl:
    return _set_blocked(call, peers.person(call, request.id, "CONTACT_ID_INVALID"), blocked=False)


def _set_blocked(call: Call, person: Person, *, blocked: bool) -> bool:
    me = call.me
    if person.id == me.id or (person.id in me.blocked) == blocked:
        return False
    if blocked:
        me.blocked[person.id] = call.world.now()
    else:
        del me.blocked[person.id]
    call.world.put_person(me)
    call.stage.plain(me.id, types.UpdatePeerBlocked(types.PeerUser(person.id), blocked=blocked), person.id)
    return True


@method(functions.contacts.GetBlockedRequest, users_only=True)
def get_blocked(call: Call, request: Tl) -> Tl:
    everyone = list(call.me.blocked.items())
    page = everyone[request.offset : request.offset + request.limit]
    listed = [types.PeerBlocked(types.PeerUser(number), since) for number, since in page]
    return types.contacts.BlockedSlice(
        len(everyone), listed, [], call.cast().add(*(number for number, _ in page)).users()
    )
