"""Trigger ids, cookies of ephemeral buttons, and the field checks of dialogs (server/public/model/integration_action.go)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable
from datetime import date, datetime
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, InvalidToken

from sandbox.mattermost import errors
from sandbox.mattermost.model import Json, new_id

TITLE_MAX = 24
DISPLAY_NAME_MAX = 24
NAME_MAX = 300
HELP_TEXT_MAX = 150
_TEXT_SUBTYPES = {"", "text", "email", "number", "tel", "url", "password"}
_RELATIVE_DATE = re.compile(r"today|tomorrow|yesterday|[+-]\d{1,3}[dwmDWM]")
# element type -> (longest default, longest placeholder); None: not checked by length
_LENGTHS: dict[str, tuple[int | None, int | None]] = {
    "text": (150, 150),
    "textarea": (3000, 3000),
    "select": (3000, 3000),
    "bool": (None, 150),
    "radio": (None, None),
    "date": (150, 150),
    "datetime": (150, 150),
}


class TriggerSigner:
    """Makes and reads trigger ids: base64 of `id:user:milliseconds:signature`; made anew at each start of the twin."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._cookies = Fernet(Fernet.generate_key())

    def make(self, user_id: str, now_ms: int) -> str:
        data = f"{new_id()}:{user_id}:{now_ms}:"
        return base64.b64encode((data + self._sign(data)).encode()).decode()

    def read(self, trigger_id: str, now_ms: int, timeout_s: float) -> str:
        """The user a trigger id was made for; raises AppError 400 when it is forged or older than `timeout_s`."""
        try:
            parts = base64.b64decode(trigger_id, validate=True).decode("ascii").split(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _trigger_error("base64_decode_failed", "is not base64") from None
        if len(parts) != 4:
            raise _trigger_error("missing_data", "lacks its parts")
        made_ms = int(parts[2]) if parts[2].isdigit() else 0
        if now_ms - made_ms > timeout_s * 1000:
            raise _trigger_error("expired", f"is older than {timeout_s:g} s")
        if not hmac.compare_digest(parts[3], self._sign(":".join(parts[:3]) + ":")):
            raise _trigger_error("verify_signature_failed", "has a wrong signature")
        return parts[1]

    def seal(self, cookie: Json) -> str:
        """What a client sends back with a click on an ephemeral button; unreadable to it."""
        return self._cookies.encrypt(json.dumps(cookie).encode()).decode()

    def unseal(self, sealed: str) -> Json:
        try:
            cookie: Json = json.loads(self._cookies.decrypt(sealed.encode()))
        except InvalidToken:
            raise errors.AppError(
                "api.post.do_action.action_integration.app_error", "Action integration error.", 400
            ) from None
        return cookie

    def _sign(self, data: str) -> str:
        return base64.b64encode(hmac.new(self._key, data.encode(), hashlib.sha256).digest()).decode()


def _trigger_error(kind: str, words: str) -> errors.AppError:
    return errors.AppError(f"interactive_message.decode_trigger_id.{kind}", f"The trigger ID {words}.", 400)


def is_http_url(value: object) -> bool:
    if not isinstance(value, str):
        return False
    parts = urlsplit(value)
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def dialog_problems(dialog: Json) -> list[str]:
    """Everything wrong with a dialog, by the rules of Dialog.IsValid; lengths are in bytes, as Go counts them.

    The 11.6 server logs these and goes on, and its clients then draw what they can; the twin refuses, to be noticed.
    """
    problems = []
    title = dialog.get("title")
    if not isinstance(title, str) or not title or len(title.encode()) > TITLE_MAX:
        problems.append(f"title must have 1 to {TITLE_MAX} bytes")
    if dialog.get("icon_url") and not is_http_url(dialog["icon_url"]):
        problems.append("icon_url is not a URL")
    elements = dialog.get("elements") or []
    if not isinstance(elements, list) or not all(isinstance(element, dict) for element in elements):
        return [*problems, "elements must be a list of objects"]
    seen: set[object] = set()
    for element in elements:
        name = element.get("name")
        if name in seen:
            problems.append(f"duplicate element {name!r}")
        seen.add(name)
        problems += [f"{name!r}: {problem}" for problem in _element_problems(element)]
    return problems


def _element_problems(element: Json) -> list[str]:
    kind = element.get("type")
    if kind not in _LENGTHS:
        return [f"unknown element type {kind!r}"]
    problems = []
    for field, longest, required in (
        ("display_name", DISPLAY_NAME_MAX, True),
        ("name", NAME_MAX, True),
        ("help_text", HELP_TEXT_MAX, False),
        ("default", _LENGTHS[kind][0], False),
        ("placeholder", _LENGTHS[kind][1], False),
    ):
        value = element.get(field, "")
        if not isinstance(value, str):
            problems.append(f"{field} must be a text")
        elif required and not value:
            problems.append(f"{field} cannot be empty")
        elif longest is not None and len(value.encode()) > longest:
            problems.append(f"{field} cannot be longer than {longest} bytes")
    if problems:
        return problems
    shortest, longest_value = element.get("min_length", 0), element.get("max_length", 0)
    if shortest < 0 or shortest > longest_value:
        problems.append("min_length must be from 0 to max_length")
    if element.get("multiselect") and kind != "select":
        problems.append("multiselect is for select elements")
    return problems + _TYPE_CHECKS[kind](element)


def _text_problems(element: Json) -> list[str]:
    return [] if element.get("subtype", "") in _TEXT_SUBTYPES else ["unknown subtype"]


def _bool_problems(element: Json) -> list[str]:
    return [] if element.get("default", "") in {"", "true", "false"} else ["default must be true or false"]


def _choice_problems(element: Json) -> list[str]:
    source = element.get("data_source", "")
    values = {option.get("value") for option in element.get("options") or []}
    if source == "dynamic":
        problems = [] if is_http_url(element.get("data_source_url")) else ["a dynamic select needs data_source_url"]
        return [*problems, "a dynamic select has no options of its own"] if values else problems
    if source not in {"", "users", "channels"}:
        return ["data_source must be users, channels or dynamic"]
    default = element.get("default", "")
    chosen = default.replace(" ", "").split(",") if element.get("multiselect") else [default]
    unknown = [value for value in chosen if value and value not in values]
    return ["default is not among the options"] if unknown and not source else []


def _date_problems(element: Json) -> list[str]:
    return [
        f"{field} is not a date"
        for field in ("default", "min_date", "max_date")
        if element.get(field) and not _is_date(element[field], with_time=False)
    ]


def _datetime_problems(element: Json) -> list[str]:
    problems = (
        [] if not element.get("default") or _is_date(element["default"], with_time=True) else ["default is not a time"]
    )
    interval = element.get("time_interval", 0)
    if not 1 <= interval <= 1440 or 1440 % interval:
        problems.append("time_interval must divide 1440 minutes")
    return problems


def _is_date(value: str, *, with_time: bool) -> bool:
    if _RELATIVE_DATE.fullmatch(value):
        return True
    try:
        if with_time:
            datetime.fromisoformat(value)
            return "T" in value
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


_TYPE_CHECKS: dict[str, Callable[[Json], list[str]]] = {
    "text": _text_problems,
    "textarea": _text_problems,
    "select": _choice_problems,
    "radio": _choice_problems,
    "bool": _bool_problems,
    "date": _date_problems,
    "datetime": _datetime_problems,
}
