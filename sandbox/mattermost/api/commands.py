"""Slash commands and interactive dialogs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from urllib.parse import urlencode

from sandbox.mattermost import errors
from sandbox.mattermost.api.base import ApiHandler, text_field
from sandbox.mattermost.api.posts import call_integration, checked_message, checked_props, create_post, send_ephemeral
from sandbox.mattermost.errors import AppError
from sandbox.mattermost.model import Command, Json, User, is_id, new_id
from sandbox.mattermost.outgoing import MAX_RESPONSE_BYTES, CallRefusedError
from sandbox.mattermost.triggers import dialog_problems, is_http_url
from sandbox.mattermost.world import OpenDialog

_TRIGGER = re.compile(r"[A-Za-z0-9_.-][A-Za-z0-9_./-]{0,127}")
_BUILT_IN = {
    "away",
    "dnd",
    "echo",
    "help",
    "invite",
    "join",
    "leave",
    "me",
    "msg",
    "offline",
    "online",
    "shrug",
    "status",
}
RESPONSE_URL_USES = 5
RESPONSE_URL_MEMORY_S = 30 * 60.0


@dataclass(slots=True)
class ResponseHook:
    """A response_url: five more messages within 30 minutes."""

    user_id: str
    channel_id: str
    root_id: str
    until: float
    uses: int = 0


class CommandRoute(ApiHandler):
    """What the routes on one command share."""

    def require_enabled(self) -> None:
        if not self.world.settings.enable_commands:
            raise AppError("api.command.disabled.app_error", "Commands have been disabled by the system admin.", 501)

    def command(self, command_id: str) -> Command:
        """A command the caller may manage; 404 hides those of teams where the caller may manage none."""
        self.require_enabled()
        command = self.world.command(self.id_of(command_id, "command_id"))
        if not self.world.may_in_team(self.caller, command.team_id, "manage_slash_commands"):
            raise errors.missing_command()
        if command.creator_id != self.caller.id:
            self.require_in_team(command.team_id, "manage_others_slash_commands")
        return command

    def check(self, body: Json, team_id: str, own_id: str) -> Json:
        """The fields of a command, checked as Command.IsValid does; 400 otherwise."""
        fields: Json = {
            name: text_field(body, name)
            for name in (
                "trigger",
                "method",
                "url",
                "username",
                "icon_url",
                "auto_complete_desc",
                "auto_complete_hint",
                "display_name",
                "description",
            )
        }
        fields["trigger"] = fields["trigger"].lower()
        fields["auto_complete"] = body.get("auto_complete") is True
        problems = (
            ("trigger", not _TRIGGER.fullmatch(fields["trigger"])),
            ("url", not fields["url"] or len(fields["url"].encode()) > 1024),
            ("url_http", not is_http_url(fields["url"])),
            ("method", fields["method"] not in {"P", "G"}),
            ("display_name", len(fields["display_name"].encode()) > 64),
            ("description", len(fields["description"].encode()) > 128),
        )
        for name, is_wrong in problems:
            if is_wrong:
                raise AppError(f"model.command.is_valid.{name}.app_error", f"Invalid {name}.", 400)
        taken = {command.trigger for command in self.world.team_commands(team_id) if command.id != own_id} | _BUILT_IN
        if fields["trigger"] in taken:
            raise AppError("api.command.duplicate_trigger.app_error", "The slash command is in use.", 400)
        return fields


class CommandsHandler(CommandRoute):
    def post(self) -> None:
        body = self.body_object("command")
        team_id = text_field(body, "team_id")
        self.require_in_team(team_id, "manage_slash_commands")
        creator_id = text_field(body, "creator_id") or self.caller.id
        if creator_id != self.caller.id:
            self.require_in_team(team_id, "manage_others_slash_commands")
            self.world.user(creator_id)
        self.require_enabled()
        if team_id not in self.world.teams:
            raise AppError("model.command.is_valid.team_id.app_error", "Invalid team ID.", 400)
        fields = self.check(body, team_id, "")
        now = self.world.now_ms()
        command = Command(new_id(), new_id(), now, now, creator_id, team_id, **fields)
        self.reply(self.world.put_command(command).wire(), 201)

    def get(self) -> None:
        team_id = self.get_query_argument("team_id", "")
        if not team_id:
            raise errors.invalid_param("team_id")
        self.require_in_team(team_id, "view_team")
        may_manage = self.world.may_in_team(self.caller, team_id, "manage_slash_commands")
        may_all = self.world.may_in_team(self.caller, team_id, "manage_others_slash_commands")
        commands = [
            command
            for command in self.world.team_commands(team_id)
            if (may_all or command.creator_id == self.caller.id if may_manage else command.auto_complete)
        ]
        if self.flag("custom_only"):
            if not may_manage:
                raise errors.forbidden("manage_slash_commands")
            self.require_enabled()
            self.reply([command.wire() for command in commands])
            return
        self.reply([command.sanitized() for command in commands])


class CommandHandler(CommandRoute):
    def get(self, command_id: str) -> None:
        try:
            command = self.command(command_id)
        except AppError as refusal:
            raise errors.missing_command() if refusal.status_code == 403 else refusal from None
        self.reply(command.wire())

    def put(self, command_id: str) -> None:
        body = self.body_object("command")
        if body.get("id") != command_id:
            raise errors.invalid_param("command")
        command = self.command(command_id)
        if body.get("team_id") != command.team_id:
            raise AppError("api.command.team_mismatch.app_error", "Unable to update commands across teams.", 400)
        for name, value in self.check(body, command.team_id, command.id).items():
            setattr(command, name, value)
        command.update_at = self.world.now_ms()
        self.reply(self.world.put_command(command).wire())

    def delete(self, command_id: str) -> None:
        command = self.command(command_id)
        command.delete_at = self.world.now_ms()
        self.world.put_command(command)
        self.ok()


class RegenTokenHandler(CommandRoute):
    def put(self, command_id: str) -> None:
        command = self.command(command_id)
        command.token = new_id()
        self.world.put_command(command)
        self.reply({"token": command.token})


class ExecuteHandler(CommandRoute):
    """Runs a slash command: the integration is called with a form, and its answer is posted or shown."""

    async def post(self) -> None:
        body = self.body_object("command_args")
        line, channel_id = text_field(body, "command"), text_field(body, "channel_id")
        if len(line) <= 1 or not line.startswith("/") or not is_id(channel_id):
            raise AppError("api.command.execute_command.start.app_error", "No command trigger found.", 400)
        world, caller = self.world, self.caller
        channel = world.channels.get(channel_id)
        if channel is None or caller.id not in channel.members:
            raise errors.forbidden("create_post")
        team_id = channel.team_id or text_field(body, "team_id")
        team = world.teams.get(team_id)
        if channel.type == "D" and (team is None or caller.id not in team.members):
            self.require("create_post")
        self.require_enabled()
        if team is None:
            raise errors.missing_team()
        trigger, *rest = re.split(r"\s", line, maxsplit=1)
        trigger = trigger[1:].lower()
        command = next((one for one in world.team_commands(team_id) if one.trigger == trigger), None)
        if command is None:
            raise AppError(
                "api.command.execute_command.not_found.app_error",
                f"Command with a trigger of '{trigger[:512]}' not found.",
                404,
            )
        trigger_id = self.services.signer.make(caller.id, world.now_ms())
        root_id = text_field(body, "root_id")
        form = {
            "token": command.token,
            "team_id": team_id,
            "team_domain": team.name,
            "channel_id": channel.id,
            "channel_name": channel.name,
            "user_id": caller.id,
            "user_name": caller.username,
            "command": f"/{trigger}",
            "text": rest[0] if rest else "",
            "trigger_id": trigger_id,
            "root_id": root_id,
            "response_url": f"{world.settings.site_url}/hooks/commands/{self._hook(channel.id, root_id)}",
        }
        answer = await self._call(command, urlencode(form))
        post_response(self, caller, channel.id, root_id, answer, command)
        for extra in answer.get("extra_responses") or ():
            post_response(self, caller, channel.id, root_id, extra, command)
        self.reply({**_response_wire(answer), "trigger_id": trigger_id})

    def _hook(self, channel_id: str, root_id: str) -> str:
        hook_id = new_id()
        now = self.world.clock()
        hooks = self.services.hooks
        for old in [one for one, hook in hooks.items() if hook.until <= now]:
            del hooks[old]
        hooks[hook_id] = ResponseHook(self.caller.id, channel_id, root_id, now + RESPONSE_URL_MEMORY_S)
        return hook_id

    async def _call(self, command: Command, form: str) -> Json:
        words = f"Command with a trigger of '{command.trigger}' failed."
        try:
            response = await self.services.integrations().send_form(command.url, command.method, form, command.token)
        except CallRefusedError as refusal:
            raise AppError("api.command.execute_command.failed.app_error", words, 500, str(refusal)) from None
        if response.code != 200:
            detail = response.body[:MAX_RESPONSE_BYTES].decode("utf-8", "replace")
            raise AppError(
                "api.command.execute_command.failed_resp.app_error", f"{words} Status {response.code}", 500, detail
            )
        return parsed_response(response.headers.get("Content-Type", ""), response.body, words)


def parsed_response(content_type: str, body: bytes, words: str) -> Json:
    """A CommandResponse: JSON when the content type says so, else the text itself."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        text = body.decode("utf-8", "replace").strip()
        return {"text": text} if text else {}
    try:
        answer = json.loads(body)
    except ValueError:
        raise AppError("api.command.execute_command.failed.app_error", words, 500, "the answer is not JSON") from None
    if not isinstance(answer, dict):
        raise AppError("api.command.execute_command.failed.app_error", words, 500, "the answer is not an object")
    return answer


def post_response(
    handler: ApiHandler, user: User, channel_id: str, root_id: str, answer: Json, command: Command | None
) -> None:
    """Post what an integration answered: to the channel, or to the person alone (HandleCommandResponsePost)."""
    world = handler.world
    other = text_field(answer, "channel_id")
    if other:
        if user.id not in world.channel(other).members:
            raise AppError("api.command.command_post.forbidden.app_error", "Specified user is not a member.", 403)
        channel_id = other
    props = {**checked_props(answer.get("props")), "from_webhook": "true"}
    override = (command.username if command else "") or text_field(answer, "username")
    if override and world.settings.enable_post_username_override:
        props["override_username"] = override
    if answer.get("attachments"):
        props["attachments"] = answer["attachments"]
    message = text_field(answer, "text")
    body = {"message": message, "props": props, "root_id": root_id, "type": text_field(answer, "type")}
    checked_message(body)
    if answer.get("response_type") == "in_channel":
        create_post(world, user, world.channel(channel_id), body)
    elif answer.get("response_type") in {None, "", "ephemeral"} and (message or answer.get("attachments")):
        send_ephemeral(handler.services, user.id, channel_id, user.id, body)


def _response_wire(answer: Json) -> Json:
    texts = ("response_type", "text", "username", "channel_id", "icon_url", "type", "goto_location")
    return {
        **{name: text_field(answer, name) for name in texts},
        "props": answer.get("props"),
        "skip_slack_parsing": answer.get("skip_slack_parsing") is True,
        "attachments": answer.get("attachments"),
        "extra_responses": answer.get("extra_responses"),
    }


class ResponseUrlHandler(ApiHandler):
    """`/hooks/commands/ID`: a later answer to a slash command."""

    needs_session = False

    def post(self, hook_id: str) -> None:
        hook = self.services.hooks.get(hook_id)
        if hook is None or hook.until <= self.world.clock():
            raise AppError("app.command_webhook.get.missing", "Unable to get the webhook.", 404)
        if hook.uses >= RESPONSE_URL_USES:
            raise AppError("app.command_webhook.try_use.invalid", "Invalid webhook.", 400)
        hook.uses += 1
        answer = parsed_response(
            self.request.headers.get("Content-Type", ""), self.request.body, "The response failed."
        )
        post_response(self, self.world.user(hook.user_id), hook.channel_id, hook.root_id, answer, None)
        self.set_header("Content-Type", "text/plain")
        self.finish(b"ok")


class DialogOpenHandler(ApiHandler):
    """Needs no session: the trigger id, which lives 30 s and belongs to one person, is the right to open."""

    needs_session = False

    def post(self) -> None:
        body = self.body_object("dialog")
        url, dialog = text_field(body, "url"), body.get("dialog")
        if not url:
            raise errors.invalid_param("url")
        if not isinstance(dialog, dict):
            raise errors.invalid_param("dialog")
        now = self.world.now_ms()
        timeout_s = self.world.settings.integration_timeout_s
        user_id = self.services.signer.read(text_field(body, "trigger_id"), now, timeout_s)
        problems = dialog_problems(dialog)
        if problems:
            raise errors.invalid_param("dialog", "; ".join(problems))
        self.world.show_dialog(OpenDialog(new_id(), user_id, url, dialog, now))
        self.ok()


class DialogSubmitHandler(ApiHandler):
    async def post(self) -> None:
        body = self.body_object("dialog")
        url, channel_id = self.checked_target(body)
        submission = body.get("submission")
        if not isinstance(submission, dict):
            raise errors.invalid_param("submission")
        kind = "refresh" if body.get("type") == "refresh" else "dialog_submission"
        answer = await call_integration(self.services, url, self.request_to(body, channel_id, kind))
        self.reply({name: answer[name] for name in ("error", "errors", "type", "form") if answer.get(name)})

    def checked_target(self, body: Json) -> tuple[str, str]:
        """(url, channel id); 400, 403 or 404 when one is wrong."""
        url = text_field(body, "url")
        if not url:
            raise errors.invalid_param("url")
        return url, self.world.readable_channel(self.caller, text_field(body, "channel_id")).id

    def request_to(self, body: Json, channel_id: str, kind: str) -> Json:
        """What the integration gets; the team is the channel's, whatever the client said."""
        return {
            "type": kind,
            "callback_id": text_field(body, "callback_id"),
            "state": text_field(body, "state"),
            "user_id": self.caller.id,
            "channel_id": channel_id,
            "team_id": self.world.channels[channel_id].team_id,
            "submission": body.get("submission") or {},
            "cancelled": body.get("cancelled") is True,
        }


class DialogLookupHandler(DialogSubmitHandler):
    async def post(self) -> None:
        body = self.body_object("dialog")
        url, channel_id = self.checked_target(body)
        if not is_http_url(url):
            raise errors.invalid_param("url")
        answer = await call_integration(self.services, url, self.request_to(body, channel_id, "dialog_lookup"))
        items = answer.get("items")
        self.reply({"items": items if isinstance(items, list) else []})
