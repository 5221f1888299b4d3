"""Real CalDAV servers for the sandbox and the tests: Radicale (with sign-in) and Xandikos, and calendars to put into them."""

from sandbox.caldav.meetings import CalendarDesk, Meeting
from sandbox.caldav.radicale import RadicaleServer, running_radicale
from sandbox.caldav.samples import PEOPLE, write_samples
from sandbox.caldav.seeding import seed_objects, seed_xandikos

__all__ = [
    "PEOPLE",
    "CalendarDesk",
    "Meeting",
    "RadicaleServer",
    "running_radicale",
    "seed_objects",
    "seed_xandikos",
    "write_samples",
]
