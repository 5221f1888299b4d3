"""What a dialog sends back: values of any JSON type, or none, under the names of its fields."""

from __future__ import annotations

from collections.abc import Mapping

Entries = Mapping[str, object]


def text_entry(entries: Entries, name: str) -> str:
    """A text or chosen value without spaces around it; empty where nothing was entered."""
    value = entries.get(name)
    return value.strip() if isinstance(value, str) else ""


def switch_entry(entries: Entries, name: str) -> bool:
    """A checkbox; servers send true or "true"."""
    return str(entries.get(name)).lower() == "true"


def list_entry(entries: Entries, name: str) -> list[str]:
    """The values of a multiselect: a list, or a text with commas from older servers."""
    value = entries.get(name)
    if isinstance(value, str):
        value = value.split(",")
    return [str(one).strip() for one in value if str(one).strip()] if isinstance(value, list) else []
