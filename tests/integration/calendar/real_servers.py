"""Real CalDAV servers with one seeded calendar: Radicale (with sign-in) and Xandikos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.caldav import running_radicale
from sandbox.caldav.meetings import CalendarDesk
from sandbox.caldav.seeding import seed_objects, seed_xandikos
from sandbox.caldav.xandikos import running_xandikos
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient

NAMES = ("radicale", "xandikos")


@dataclass(frozen=True)
class RealServer:
    """A running server with one calendar, `big`; `calendar` is what a person calls it."""

    url: str
    port: int
    login: str
    password: str
    calendar: str
    desk: CalendarDesk

    def open(self, url: str, login: str, password: str) -> CaldavClient:
        return CaldavClient(url, login, password, guard=AddressGuard([f"127.0.0.1:{self.port}"]))


@contextmanager
def running_real_server(name: str, folder: Path, meetings: int) -> Iterator[RealServer]:
    """The server of this name with so many seeded meetings, its data in `folder`, until the block ends."""
    if name == "radicale":
        seed_objects(folder / "storage", meetings)
        with running_radicale(folder) as radicale:
            yield RealServer(radicale.url, radicale.port, "anna", radicale.password, "Big", radicale.desk)
        return
    seed_xandikos(folder / "xandikos", meetings)
    with running_xandikos(folder) as xandikos:
        yield RealServer(xandikos.url, xandikos.port, "user", "none", "big", xandikos.desk)
