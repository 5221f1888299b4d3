"""Writing calendars straight into a Radicale data folder: seconds instead of minutes, and before the server starts."""

from __future__ import annotations

import json
from pathlib import Path

COLLECTION_ROOT = "collection-root"


def make_calendar(folder: Path, user: str, calendar: str, title: str, color: str = "#3b6fb6") -> Path:
    """Create an empty calendar (or find it) and return the folder its objects go into."""
    home = folder / COLLECTION_ROOT / user / calendar
    home.mkdir(parents=True, exist_ok=True)
    properties = {
        "tag": "VCALENDAR",
        "D:displayname": title,
        "ICAL:calendar-color": color,
        "C:supported-calendar-component-set": "VEVENT",
    }
    (home / ".Radicale.props").write_text(json.dumps(properties), encoding="utf-8")
    return home


def is_empty(folder: Path) -> bool:
    """Whether this data folder holds no calendar yet."""
    root = folder / COLLECTION_ROOT
    return not root.exists() or not any(root.glob("*/*/.Radicale.props"))
