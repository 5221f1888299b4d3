"""Catalogues of translations and the choice among them.

Texts in the code are English and are the keys of the catalogues in `catalogues/LOCALE/LC_MESSAGES/switchboard.po`. They are
compiled in memory, so that the tree holds no second, binary copy that could be older than the first.
"""

from __future__ import annotations

import gettext as gettext_library
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from importlib.resources import files
from io import BytesIO
from zoneinfo import ZoneInfo

from babel.dates import format_date
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

DEFAULT_LOCALE = "en"
LOCALES = ("en", "ru", "uk")
DOMAIN = "switchboard"

_DAY_IN_WORDS = {"en": "EEEE, MMMM d", "ru": "EEEE, d MMMM", "uk": "EEEE, d MMMM"}
_SHORT_DAY = {"en": "MMM d", "ru": "d MMM", "uk": "d MMM"}


def match_locale(wanted: str) -> str:
    """One of LOCALES for what Mattermost or a person names: `ru`, `ru-RU`, `uk_UA`, `en-AU`; English for anything else."""
    language = wanted.strip().replace("_", "-").partition("-")[0].lower()
    return language if language in LOCALES else DEFAULT_LOCALE


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one language. Placeholders are named: `texts.gettext("Hello, {name}", name="Ann")`."""

    locale: str
    _catalogue: gettext_library.NullTranslations

    @classmethod
    def for_locale(cls, wanted: str) -> Texts:
        """The texts of the closest language we have; never fails."""
        return _load(match_locale(wanted))

    def gettext(self, message: str, /, **values: object) -> str:
        """The translation of `message` with its placeholders filled."""
        return self._catalogue.gettext(message).format(**values)

    def ngettext(self, singular: str, plural: str, count: int, /, **values: object) -> str:
        """The translation in the plural form of `count`, which is also the placeholder `{count}`."""
        return self._catalogue.ngettext(singular, plural, count).format(count=count, **values)

    def date_in_words(self, day: date) -> str:
        """`Saturday, November 21`, in the language's own order and case."""
        return format_date(day, _DAY_IN_WORDS[self.locale], locale=self.locale)

    def short_date(self, day: date) -> str:
        """`Nov 21`, in the language's own order."""
        return format_date(day, _SHORT_DAY[self.locale], locale=self.locale)

    def moment(self, moment: datetime, zone: ZoneInfo) -> str:
        """`Nov 21, 16:30`, by the clocks of `zone`; within a day of the ends of the calendar as the moment has it."""
        try:
            local = moment.astimezone(zone)
        except OverflowError:
            local = moment
        return f"{self.short_date(local.date())}, {local:%H:%M}"


@lru_cache(maxsize=len(LOCALES))
def _load(locale: str) -> Texts:
    source = files("switchboard.texts").joinpath("catalogues", locale, "LC_MESSAGES", f"{DOMAIN}.po")
    catalogue = read_po(BytesIO(source.read_bytes()), locale=locale, domain=DOMAIN)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Texts(locale, gettext_library.GNUTranslations(compiled))
