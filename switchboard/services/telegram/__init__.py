"""Telegram accounts and the gateway that holds them."""
