"""`python -m sandbox --port P --data DIR`: the Mattermost twin and the page in one process, on 127.0.0.1.

Environment: SANDBOX_BOT_TOKEN, SANDBOX_ADMIN_TOKEN (made when absent, and kept in DIR/tokens.json), SANDBOX_ALLOWED_CONNECTIONS
(hosts, networks or host:port that integrations may be called at, separated by spaces or commas), SANDBOX_CALDAV_URL and
SANDBOX_CALDAV_PASSWORD (for the calendar part of the page), SANDBOX_TELEGRAM_URL (for its Telegram part).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
from pathlib import Path

from sandbox.caldav.meetings import CalendarDesk
from sandbox.mattermost.twin import MattermostTwin, token_from_environment
from sandbox.mattermost.world import Settings
from sandbox.page import page_routes

TOKENS_FILE = "tokens.json"


def kept_tokens(data_dir: Path) -> tuple[str, str]:
    """(bot token, admin token): of the environment, else of an earlier start, else new ones; kept in a private file."""
    path = data_dir / TOKENS_FILE
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    bot, admin = (
        token_from_environment(f"SANDBOX_{name.upper()}_TOKEN") or earlier.get(name) or secrets.token_hex(13)
        for name in ("bot", "admin")
    )
    data_dir.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        json.dump({"bot": bot, "admin": admin}, out)
    return bot, admin


async def serve(port: int, data_dir: Path) -> None:
    bot_token, admin_token = kept_tokens(data_dir)
    allowed = tuple(os.environ.get("SANDBOX_ALLOWED_CONNECTIONS", "").replace(",", " ").split())
    settings = Settings(allowed_untrusted_internal_connections=allowed)
    twin = MattermostTwin(settings=settings, data_dir=data_dir, bot_token=bot_token, admin_token=admin_token)
    caldav_url = os.environ.get("SANDBOX_CALDAV_URL", "")
    desk = CalendarDesk(caldav_url, os.environ.get("SANDBOX_CALDAV_PASSWORD", "")) if caldav_url else None
    twin.add_routes([*page_routes(twin, desk, os.environ.get("SANDBOX_TELEGRAM_URL", ""))])
    twin.start(port)
    sys.stdout.write(f"sandbox: {twin.url}/ (Mattermost twin under /api/v4)\n")
    sys.stdout.flush()
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    await end.wait()
    await twin.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--data", type=Path, required=True, help="folder for what outlives a restart")
    chosen = parser.parse_args()
    try:
        asyncio.run(serve(chosen.port, chosen.data.resolve()))
    except OSError as failure:
        sys.exit(f"sandbox: cannot listen on port {chosen.port}: {failure.strerror}. Choose another --port.")


if __name__ == "__main__":
    main()
