"""Secrets that an embedded deployment makes for itself: made once, kept in DATA_DIR/secrets.json, used at every start."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from switchboard.errors import ConfigError
from switchboard.processes.private_file import write_private

FILE_NAME = "secrets.json"


@dataclass(frozen=True, slots=True, repr=False)
class GeneratedSecrets:
    """Each at least 32 URL-safe characters, Flower's and the CalDAV password shorter because people type them."""

    secret_keys: str
    admin_token: str
    valkey_password: str
    flower_password: str
    sandbox_bot_token: str
    sandbox_admin_token: str
    sandbox_caldav_password: str


def read_or_make(data_dir: Path) -> GeneratedSecrets:
    """The secrets of this data folder; what is missing is made. ConfigError when the file cannot be read.

    A damaged file is never replaced: it holds the key that opens the stored secrets of users.
    """
    path = data_dir / FILE_NAME
    kept: dict[str, str] = {}
    if path.exists():
        try:
            kept = {str(name): str(value) for name, value in json.loads(path.read_text(encoding="utf-8")).items()}
        except (OSError, ValueError, AttributeError):
            raise ConfigError(
                f"{path} cannot be read: restore it from a backup, or remove the whole data folder to begin anew "
                "(without the key in it the stored passwords of users are lost)"
            ) from None
    typed = {"flower_password", "sandbox_caldav_password"}
    known = {field.name for field in fields(GeneratedSecrets)}
    made = {name: secrets.token_urlsafe(12 if name in typed else 32) for name in known - kept.keys()}
    found = GeneratedSecrets(**{name: kept.get(name) or made[name] for name in known})
    if made:
        write_private(path, json.dumps(asdict(found), indent=2) + "\n", durable=True)
    return found
