"""The link by which one joins a meeting, wherever the organiser's program put it."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

MAX_URL_CHARS = 2_000

SOURCES = (
    "X-TELEMOST-CONFERENCE",
    "CONFERENCE",
    "X-GOOGLE-CONFERENCE",
    "X-MICROSOFT-SKYPETEAMSMEETINGURL",
    "URL",
    "LOCATION",
    "DESCRIPTION",
)
"""The properties that are looked at, best first. CONFERENCE is RFC 7986 5.11."""

MEETING_HOSTS = (
    "telemost.yandex.ru",
    "telemost.yandex.com",
    "telemost.360.yandex.ru",
    "meet.google.com",
    "zoom.us",
    "zoom.com",
    "teams.microsoft.com",
    "teams.live.com",
    "webex.com",
    "meet.jit.si",
    "whereby.com",
    "gotomeeting.com",
    "meet.goto.com",
    "bluejeans.com",
    "discord.gg",
    "jazz.sber.ru",
    "salutejazz.ru",
    "ktalk.ru",
    "dion.vc",
    "mts-link.ru",
    "vkvideo.me",
    "calls.vk.com",
    "meet.mail.ru",
    "trueconf.com",
    "join.skype.com",
    "around.co",
    "app.gather.town",
)
"""Known places of meetings; in free text a link to one of them goes before any other link. Subdomains count."""

_CALENDAR_PAGES = (
    "calendar.google.com",
    "calendar.yandex.ru",
    "calendar.yandex.com",
    "outlook.office.com",
    "outlook.live.com",
)
"""Hosts whose links in URL show the event in a calendar instead of joining it."""

_URL = re.compile(r"https?://[^\s<>\"'`{}|\\^\x00-\x20]+", re.IGNORECASE)
_TRAILING = ".,;:!?*_~»”’"
_PAIRS = {")": "(", "]": "["}


def conference_url(properties: Mapping[str, Sequence[str]]) -> str:
    """The http(s) link to join by, or ''; `properties` maps property names to their unescaped values."""
    for source in SOURCES:
        found = [url for value in properties.get(source, ()) for url in web_urls(value)]
        if source == "URL":
            found = [url for url in found if not _is_on(url, _CALENDAR_PAGES)]
        known = [url for url in found if _is_on(url, MEETING_HOSTS)]
        if known or found:
            return (known or found)[0]
    return ""


def web_urls(text: str) -> list[str]:
    """The http(s) links in plain or HTML text, in order, without trailing punctuation or a user name in them."""
    found = []
    for match in _URL.finditer(html.unescape(text)):
        url = _without_trailing(match[0])
        if len(url) <= MAX_URL_CHARS and _is_sound(url):
            found.append(url)
    return found


def _without_trailing(url: str) -> str:
    while url:
        last = url[-1]
        unbalanced = last in _PAIRS and url.count(last) > url.count(_PAIRS[last])
        if last not in _TRAILING and not unbalanced:
            break
        url = url[:-1]
    return url


def _is_sound(url: str) -> bool:
    """`https://telemost.yandex.ru@evil.example/` shows one host and opens another, so a user part is refused."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.hostname) and "@" not in parts.netloc


def _is_on(url: str, hosts: Sequence[str]) -> bool:
    host = (urlsplit(url).hostname or "").rstrip(".")
    return any(host == known or host.endswith("." + known) for known in hosts)
