"""Radicale and Xandikos with one calendar per person, which tests can stop, start again, and give other passwords."""

from __future__ import annotations

import urllib.request
from contextlib import ExitStack
from pathlib import Path

from sandbox.caldav import running_radicale
from sandbox.caldav.faulty import LOGIN, running_faulty
from sandbox.caldav.meetings import CalendarDesk
from sandbox.caldav.storage import make_calendar
from sandbox.caldav.xandikos import running_xandikos
from sandbox.ports import free_port

PEOPLE = tuple(f"person{number}" for number in range(1, 200))
PASSWORD = "first-password"


class RadicaleCalendars:
    """Everybody signs in under their own name; the calendar is called like its owner."""

    checks_passwords = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._passwords = dict.fromkeys(PEOPLE, PASSWORD)
        self._running = ExitStack()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start the server, with the data and the port of before."""
        server = running_radicale(self._folder, users=PEOPLE, password=PASSWORD, port=self.port)
        self._storage = self._running.enter_context(server).folder
        self._write_passwords()

    def stop(self) -> None:
        """From now on connections are refused."""
        self._running.close()

    def login(self, person: str) -> str:
        return person

    def calendar_url(self, person: str) -> str:
        return f"{self.url}/{person}/{person}/"

    def make_calendar(self, person: str) -> None:
        make_calendar(self._storage, person, person, person)

    def set_password(self, person: str, password: str) -> None:
        """The server reads its password file at every sign-in."""
        self._passwords[person] = password
        self._write_passwords()

    def desk(self, person: str) -> CalendarDesk:
        """The person's calendar program."""
        return CalendarDesk(self.url, self._passwords[person])

    def _write_passwords(self) -> None:
        lines = (f"{person}:{password}\n" for person, password in self._passwords.items())
        (self._folder / "users").write_text("".join(lines), encoding="utf-8")


class XandikosCalendars:
    """No sign-in and one login; the calendar is called like the person it is for."""

    checks_passwords = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = ExitStack()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir()
        self.start()

    def start(self) -> None:
        """Start the server, with the data and the port of before."""
        self._running.enter_context(running_xandikos(self._folder, port=self.port))

    def stop(self) -> None:
        """From now on connections are refused."""
        self._running.close()

    def login(self, person: str) -> str:
        return "user"

    def calendar_url(self, person: str) -> str:
        return f"{self.url}/user/calendars/{person}/"

    def make_calendar(self, person: str) -> None:
        request = urllib.request.Request(self.calendar_url(person), method="MKCALENDAR")
        with urllib.request.urlopen(request, timeout=10):
            pass

    def set_password(self, person: str, password: str) -> None:
        raise NotImplementedError("Xandikos asks for no password")

    def desk(self, person: str) -> CalendarDesk:
        """The person's calendar program."""
        return CalendarDesk(self.url, "", path="user/calendars/{calendar}")


class FaultyCalendars:
    """The twin that misbehaves on demand: one login with one calendar, which everybody connects. It ends with its tests."""

    checks_passwords = True

    def __init__(self, _folder: Path) -> None:
        self._running = ExitStack()
        self.server = self._running.enter_context(running_faulty())
        self.server.password = PASSWORD
        self.port, self.url = self.server.port, self.server.url

    def start(self) -> None:
        raise NotImplementedError("this twin takes another port each time")

    def stop(self) -> None:
        """From now on connections are refused."""
        self._running.close()

    def login(self, person: str) -> str:
        return LOGIN

    def calendar_url(self, person: str) -> str:
        return self.server.calendar_url

    def make_calendar(self, person: str) -> None:
        """It is there."""

    def set_password(self, person: str, password: str) -> None:
        self.server.password = password

    def desk(self, person: str) -> CalendarDesk:
        raise NotImplementedError("objects are put into this twin directly")


CalendarServer = RadicaleCalendars | XandikosCalendars | FaultyCalendars
