"""Upkeep of what we store."""
