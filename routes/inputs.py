"""What bodies, queries and addresses may hold: numbers that the databases have, texts that may be stored and shown.

Bodies are strict: `true` is no number, "yes" is no boolean, and a number is no time. Queries are texts and are read as what
they should be.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import pydantic_core
from flask import Flask
from flask.json.provider import DefaultJSONProvider
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, Strict
from werkzeug.routing import BaseConverter, IntegerConverter

from switchboard.db.types import MOST_ID
from switchboard.domain import plain_text
from switchboard.services.organisations.recipients import MOST_ID_CHARS

FIRST_YEAR, LAST_YEAR = 2000, 2199
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)  # also without seconds


def _plain(text: str) -> str:
    if (problem := plain_text.problem_of(text)) is not None:
        raise ValueError(problem)
    return text


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("an external id has printable characters only")
    return name


def _written(given: Any) -> Any:
    if not (isinstance(given, str) and _RFC_3339.fullmatch(given)):
        raise ValueError("write a time as RFC 3339 with an offset, for example 2030-12-25T18:00:00+03:00")
    return given


def _within(moment: datetime) -> datetime:
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"a time lies in the years {FIRST_YEAR} to {LAST_YEAR}")
    return moment


Id = Annotated[int, Field(ge=1, le=MOST_ID)]
"""A number by which something stands in the database."""
Text = Annotated[str, AfterValidator(_plain)]
"""A text of several lines."""
Line = Annotated[Text, AfterValidator(plain_text.on_one_line)]
"""A text of one line; a line break in it becomes a space."""
ExternalId = Annotated[str, Field(min_length=1, max_length=MOST_ID_CHARS), AfterValidator(_printable)]
"""The document system's name for a person."""
Moment = Annotated[AwareDatetime, Strict(strict=False), BeforeValidator(_written), AfterValidator(_within)]
"""A time as RFC 3339 with an offset, in the years that every zone and both databases can show."""


class Body(BaseModel):
    """A JSON body: known fields of exactly their types. Read it with `model_validate_json`."""

    model_config = ConfigDict(extra="forbid", strict=True, str_strip_whitespace=True)


class Query(BaseModel):
    """The query of an address: known fields."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Number(IntegerConverter):
    """`<int:...>` in an address: an id. One with more digits names nothing, so it is 404.

    By the pattern and not by `to_python`: what that refuses, werkzeug answers with 405 where the address has other methods.
    """

    regex = rf"[0-9]{{1,{len(str(MOST_ID))}}}"


class Name(BaseConverter):
    """A name in an address: nothing has one with characters that are not seen, so it is 404. By the pattern, as above."""

    regex = f"[^/{plain_text.REFUSED}]+"
    part_isolating = True


class Json(DefaultJSONProvider):
    """Reads JSON as pydantic does: what is nested too deep is no JSON, and not a RecursionError."""

    def loads(self, s: str | bytes, **_options: Any) -> Any:
        """See flask.json.provider.JSONProvider; ValueError for no JSON."""
        return pydantic_core.from_json(s)


def register(app: Flask) -> None:
    """Let every address and JSON body of `app` be read so; before its routes are added."""
    app.url_map.converters |= {"int": Number, "default": Name}
    app.json = Json(app)
