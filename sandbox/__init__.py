"""Loopback twins of the remotes Switchboard talks to, with faults that can be switched on and a page that shows what arrived.

Imported by tests, benchmarks and the sandbox commands only; nothing here runs in production.
"""
