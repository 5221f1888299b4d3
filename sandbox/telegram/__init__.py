"""A Telegram data centre on loopback: MTProto on Telethon's own TL types, for the unmodified Telethon client."""

from sandbox.telegram.twin import API_HASH, API_ID, TelegramTwin, running_telegram

__all__ = ["API_HASH", "API_ID", "TelegramTwin", "running_telegram"]
