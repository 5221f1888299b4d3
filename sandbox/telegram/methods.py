"""All the calls the twin serves: importing this module registers them."""

from sandbox.telegram.handlers import (
    account,
    auth,
    bots,
    channels,
    chats,
    config,
    contacts,
    dialogs,
    history,
    invites,
    media,
    messages,
    updates,
    users,
)

__all__ = [
    "account", "auth", "bots", "channels", "chats", "config", "contacts", "dialogs", "history", "invites", "media",
    "messages", "updates", "users",
]  # fmt: skip
