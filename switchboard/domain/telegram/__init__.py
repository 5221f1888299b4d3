"""Telegram, as far as it is pure: phones, states, shards."""
