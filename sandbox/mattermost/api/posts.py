"""Posts: creating with pending_post_id, reading, changing, ephemeral ones, and what a click on a button does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from sandbox.mattermost import errors
from sandbox.mattermost.api.base import ApiHandler, Services, text_field
from sandbox.mattermost.errors import AppError
from sandbox.mattermost.model import MESSAGE_MAX_RUNES, PROPS_MAX_RUNES, Channel, Json, Post, User, is_id, new_id
from sandbox.mattermost.outgoing import CallRefusedError
from sandbox.mattermost.world import Ephemeral, World

_RETAINED_PROPS = ("from_webhook", "override_username", "override_icon_url")


def checked_props(value: object) -> Json:
    """Props as the server keeps them; every button gets an id. 400 when they are malformed or too long."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise errors.invalid_param("props")
    attachments = value.get("attachments")
    _check_length(value)
    if attachments is None:
        return value
    if not isinstance(attachments, list) or not all(isinstance(one, dict) for one in attachments):
        raise errors.invalid_param("props", "attachments must be a list of objects")
    return {**value, "attachments": [_with_action_ids(attachment) for attachment in attachments]}


def _check_length(props: Json) -> None:
    if sum(len(str(part)) for part in props.values()) > PROPS_MAX_RUNES:
        raise AppError("model.post.is_valid.props.app_error", "Invalid props.", 400)


def _with_action_ids(attachment: Json) -> Json:
    actions = attachment.get("actions")
    if not actions:
        return attachment
    if not isinstance(actions, list) or not all(isinstance(one, dict) for one in actions):
        raise errors.invalid_param("props", "actions must be a list of objects")
    return {**attachment, "actions": [{**action, "id": action.get("id") or new_id()} for action in actions]}


def checked_message(body: Json) -> str:
    message = text_field(body, "message")
    if len(message) > MESSAGE_MAX_RUNES:
        raise AppError(
            "model.post.is_valid.message_length.app_error",
            f"Post Message property is longer than the maximum permitted length of {MESSAGE_MAX_RUNES}.",
            400,
        )
    return message


def create_post(world: World, author: User, channel: Channel, body: Json) -> Post:
    """Store a new post by `author`; raises AppError 400."""
    post_type = text_field(body, "type")
    if post_type.startswith("system_"):
        raise errors.invalid_param("post.type")
    if channel.delete_at:
        raise AppError("api.post.create_post.can_not_post_to_deleted.error", "Can not post to deleted channel.", 400)
    root_id = text_field(body, "root_id")
    if root_id:
        root = world.posts.get(root_id)
        if root is None or root.delete_at or root.root_id or root.channel_id != channel.id:
            raise AppError("api.post.create_post.root_id.app_error", "Invalid RootId parameter.", 400)
    message, props = checked_message(body), checked_props(body.get("props"))
    if author.is_bot:
        props = {**props, "from_bot": "true"}
    now = world.unique_ms()
    return world.put_post(
        Post(
            new_id(),
            channel.id,
            author.id,
            message,
            now,
            now,
            root_id=root_id,
            type=post_type,
            props=props,
            hashtags=" ".join(word for word in message.split() if word.startswith("#") and word[1:2].isalpha())
            if "#" in message
            else "",
        )
    )


def send_ephemeral(services: Services, user_id: str, channel_id: str, author_id: str, body: Json) -> Post:
    """Show a post to one person; it is kept nowhere and its buttons work by their cookies."""
    world = services.world
    now = world.now_ms()
    post = Post(
        new_id(),
        channel_id,
        author_id,
        checked_message(body),
        now,
        now,
        root_id=text_field(body, "root_id"),
        type="system_ephemeral",
        props=checked_props(body.get("props")),
    )
    cookies = {
        action["id"]: services.signer.seal(
            {
                "type": action.get("type", ""),
                "post_id": post.id,
                "channel_id": channel_id,
                "data_source": action.get("data_source", ""),
                "integration": action.get("integration"),
            }
        )
        for action in post.actions()
    }
    world.show_ephemeral(Ephemeral(user_id, post, cookies))
    return post


def ephemeral_wire(ephemeral: Ephemeral) -> Json:
    """As the client gets it: the cookie of each button instead of its integration."""
    shown = ephemeral.post.wire()
    for attachment in shown["props"].get("attachments") or ():
        for action in attachment.get("actions") or ():
            action["cookie"] = ephemeral.cookies[action["id"]]
    return shown


class PostsHandler(ApiHandler):
    def post(self) -> None:
        body = self.body_object("post")
        channel_id, pending_post_id = text_field(body, "channel_id"), text_field(body, "pending_post_id")
        world, caller = self.world, self.caller
        channel = world.channels.get(channel_id)
        if channel is None or (caller.id not in channel.members and not world.may(caller, "create_post")):
            raise errors.forbidden("create_post")
        if self.flag("silent") and not caller.is_bot:
            raise errors.forbidden("silent")
        if pending_post_id and (known := self._known(pending_post_id)) is not None:
            self.reply(known.wire(), 201)
            return
        if pending_post_id:
            world.remember_pending(pending_post_id, "")
        try:
            post = create_post(world, caller, channel, body)
        except AppError:
            world.forget_pending(pending_post_id)
            raise
        if pending_post_id:
            world.remember_pending(pending_post_id, post.id)
        if not caller.is_bot:
            caller.status, caller.last_activity_at = "online", post.create_at
        self.reply(post.wire(pending_post_id), 201)

    def _known(self, pending_post_id: str) -> Post | None:
        """The post an earlier request with this id made; 500 while that one is under way (deduplicateCreatePost).

        The server's memory is keyed by the id alone; what belongs to somebody the caller cannot read is passed over.
        """
        post_id = self.world.pending(pending_post_id)
        if post_id is None:
            return None
        if not post_id:
            raise AppError(
                "api.post.deduplicate_create_post.pending", "Rejected post since another client is making it.", 500
            )
        post = self.world.posts.get(post_id)
        if post is None or post.delete_at:
            raise AppError("api.post.deduplicate_create_post.failed_to_get", "Failed to fetch original post.", 500)
        channel = self.world.channels[post.channel_id]
        return post if self.caller.id in channel.members or self.world.may(self.caller, "manage_system") else None


class EphemeralHandler(ApiHandler):
    def post(self) -> None:
        body = self.body_object("body")
        if not is_id(body.get("user_id")):
            raise errors.invalid_param("user_id")
        wanted = body.get("post")
        if not isinstance(wanted, dict):
            raise errors.invalid_param("post")
        self.require("create_post_ephemeral")
        self.world.user(body["user_id"])
        self.world.channel(text_field(wanted, "channel_id"))
        post = send_ephemeral(self.services, body["user_id"], wanted["channel_id"], self.caller.id, wanted)
        self.reply(ephemeral_wire(self.world.ephemerals[post.id]), 201)


class PostRoute(ApiHandler):
    """What the routes on one post share."""

    def own_post(self, post_id: str, permission: str, permission_for_others: str) -> Post:
        """A post the caller may change; 403 also when there is none, as the server answers."""
        post = self.world.posts.get(self.id_of(post_id, "post_id"))
        if post is None or post.delete_at:
            raise errors.forbidden(permission)
        if post.user_id != self.caller.id:
            self.require(permission_for_others)
        return post

    def change(self, post: Post, body: Json) -> None:
        apply_change(self.world, post, body)
        self.reply(post.wire())


class PostHandler(PostRoute):
    def get(self, post_id: str) -> None:
        include_deleted = self.flag("include_deleted")
        if include_deleted:
            self.require("manage_system")
        post = self.world.post(self.id_of(post_id, "post_id"), include_deleted=include_deleted)
        self.world.readable_channel(self.caller, post.channel_id)
        self.reply(post.wire())

    def put(self, post_id: str) -> None:
        body = self.body_object("post")
        if body.get("id") != post_id:
            raise errors.invalid_param("id")
        post = self.own_post(post_id, "edit_post", "edit_others_posts")
        self.change(post, {"message": "", "props": {}, **body})

    def delete(self, post_id: str) -> None:
        post = self.own_post(post_id, "delete_post", "delete_others_posts")
        post.delete_at = post.update_at = self.world.unique_ms()
        self.world.put_post(post)
        self.ok()


def apply_change(world: World, post: Post, body: Json) -> None:
    """Write the fields of `body` over a post; `edit_at` moves only when its text does."""
    message = checked_message({"message": body.get("message", post.message)})
    props = checked_props(body["props"]) if body.get("props") is not None else post.props
    if world.users[post.user_id].is_bot:
        props = {**props, "from_bot": "true"}
    now = world.unique_ms()
    if message != post.message:
        post.edit_at = now
    post.message, post.props, post.update_at = message, props, now
    if isinstance(body.get("is_pinned"), bool):
        post.is_pinned = body["is_pinned"]
    world.put_post(post)


class PostPatchHandler(PostRoute):
    def put(self, post_id: str) -> None:
        body = self.body_object("post")
        self.change(self.own_post(post_id, "edit_post", "edit_others_posts"), body)


class ChannelPostsHandler(ApiHandler):
    def get(self, channel_id: str) -> None:
        world = self.world
        include_deleted = self.flag("include_deleted")
        since, before, after = (self.get_query_argument(name, "") for name in ("since", "before", "after"))
        for name, value in (("before", before), ("after", after)):
            if value and not is_id(value):
                raise errors.invalid_param(name)
        if since and not since.lstrip("-").isdigit():
            raise errors.invalid_param("since")
        if include_deleted:
            self.require("manage_system")
        channel = world.readable_channel(self.caller, self.id_of(channel_id, "channel_id"))
        if since and int(since) > 0:
            self._answer(channel.id, world.posts_since(channel.id, int(since)))
            return
        if after:
            posts = self._page(world.posts_forwards(channel.id, after, include_deleted=include_deleted))
            self._answer(channel.id, posts[::-1])
            return
        self._answer(channel.id, self._page(world.posts_backwards(channel.id, before, include_deleted=include_deleted)))

    def _page(self, posts: Iterator[Post]) -> list[Post]:
        page, per_page = self.page()
        return list(islice(posts, page * per_page, (page + 1) * per_page))

    def _answer(self, channel_id: str, posts: list[Post]) -> None:
        newer = next(self.world.posts_forwards(channel_id, posts[0].id), None) if posts else None
        older = next(self.world.posts_backwards(channel_id, posts[-1].id), None) if posts else None
        self.reply(
            {
                "order": [post.id for post in posts],
                "posts": {post.id: post.wire() for post in posts},
                "next_post_id": newer.id if newer else "",
                "prev_post_id": older.id if older else "",
                "has_next": newer is not None,
            }
        )


class ActionHandler(ApiHandler):
    """A click: the integration's URL is called, which may change the post or answer the person alone."""

    async def post(self, post_id: str, action_id: str) -> None:
        world, caller = self.world, self.caller
        self.id_of(post_id, "post_id")
        body = self.body_object("action") if self.request.body else {}
        cookie = text_field(body, "cookie")
        post: Post | None = None
        if cookie:
            action = self.services.signer.unseal(cookie)
            channel_id = str(action["channel_id"])
            if action["post_id"] != post_id:
                raise _integration_error("post id does not match")
        else:
            post = world.post(post_id)
            channel_id = post.channel_id
            action = next((one for one in post.actions() if one.get("id") == action_id), {})
        channel = world.readable_channel(caller, channel_id)
        integration = action.get("integration")
        if not isinstance(integration, dict) or not integration.get("url"):
            raise AppError("api.post.do_action.action_id.app_error", "Invalid action id.", 404)
        team = world.teams.get(channel.team_id)
        trigger_id = self.services.signer.make(caller.id, world.now_ms())
        context = dict(integration.get("context") or {})
        if action.get("type") == "select" and body.get("selected_option"):
            context["selected_option"] = text_field(body, "selected_option")
        answer = await call_integration(
            self.services,
            str(integration["url"]),
            {
                "user_id": caller.id,
                "user_name": caller.username,
                "channel_id": channel.id,
                "channel_name": channel.name,
                "team_id": channel.team_id,
                "team_domain": team.name if team else "",
                "post_id": post_id,
                "trigger_id": trigger_id,
                "type": action.get("type", ""),
                "data_source": action.get("data_source", ""),
                **({"context": context} if context else {}),
            },
        )
        self._take(answer, post_id, channel.id)
        self.reply({"status": "OK", "trigger_id": trigger_id})

    def _take(self, answer: Json, post_id: str, channel_id: str) -> None:
        world = self.world
        update, text = answer.get("update"), answer.get("ephemeral_text")
        if isinstance(update, dict):
            # An ephemeral post is stored nowhere, so an update of one fails on the server too (404).
            post = world.post(post_id)
            props = update.get("props")
            if isinstance(props, dict):
                kept = {name: post.props[name] for name in _RETAINED_PROPS if name in post.props}
                props = {name: value for name, value in props.items() if name not in _RETAINED_PROPS} | kept
            apply_change(world, post, {"message": text_field(update, "message"), "props": props})
        if isinstance(text, str) and text:
            send_ephemeral(self.services, self.caller.id, channel_id, self.caller.id, {"message": text})


def _integration_error(detail: str, status: int = 400) -> AppError:
    return AppError("api.post.do_action.action_integration.app_error", "Action integration error.", status, detail)


async def call_integration(services: Services, url: str, body: Json) -> Json:
    """POST to an integration and read its JSON object; an empty answer is {}.

    A refusal becomes 400; 429 and 503 keep their status and other 5xx become 502, as the specification says of 11.x.
    """
    try:
        response = await services.integrations().post_json(url, body)
    except CallRefusedError as refusal:
        raise _integration_error(str(refusal)) from None
    if response.code != 200:
        status = response.code if response.code in {429, 503} else 502 if response.code >= 500 else 400
        raise _integration_error(f"status={response.code}", status)
    if not response.body.strip():
        return {}
    return parsed_object(response.body)


def parsed_object(body: bytes) -> Json:
    try:
        answer: Any = json.loads(body)
    except ValueError:
        raise _integration_error("the answer is not JSON") from None
    if not isinstance(answer, dict):
        raise _integration_error("the answer is not an object")
    return answer
