"""What callers from outside use of the organisations, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from switchboard.services.organisations.credentials import Credentials
from switchboard.services.organisations.events import Events
from switchboard.services.organisations.mailings import Mailings
from switchboard.services.organisations.notices import Notices
from switchboard.services.organisations.organisations import Organisations
from switchboard.services.organisations.recipients import Recipients
from switchboard.services.organisations.wording import Wording


@dataclass(frozen=True, slots=True)
class OrganisationServices:
    """The use cases of the routes and of the command line."""

    organisations: Organisations
    credentials: Credentials
    recipients: Recipients
    wording: Wording
    events: Events
    mailings: Mailings
    notices: Notices
