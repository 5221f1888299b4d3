"""Telegram over MTProto: the only package that imports Telethon."""
