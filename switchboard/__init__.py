"""Switchboard connects an organisation's people, chats, calendars and tools."""

__version__ = "0.1.0"
