"""A data centre of one's own: where the real client finds it, and the key by which it trusts it. For tests and the sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from telethon.crypto import rsa

from switchboard.errors import ConfigError

NUMBER = 2  # the data centre that clients ask first


@dataclass(frozen=True, slots=True)
class DataCentre:
    """Every session is taken there, whatever address it names."""

    host: str
    port: int


def own_data_centre(address: str, key_file: Path | None) -> DataCentre | None:
    """The data centre at `host:port` whose RSA key (PEM, PKCS#1) this process trusts from now on; None without an address.

    ConfigError when the file cannot be read or holds no such key.
    """
    if not address or key_file is None:
        return None
    host, _, port = address.rpartition(":")
    try:
        rsa.add_key(key_file.read_text(encoding="ascii"), old=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"TELEGRAM_DC_KEY cannot be used: {type(error).__name__}; give a file with an RSA key"
        ) from None
    return DataCentre(host, int(port))
