"""Every text of the code stands in every catalogue, translated, with the same placeholders."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import switchboard
from switchboard.texts.locales import DEFAULT_LOCALE, LOCALES, Texts, match_locale

PACKAGE = Path(switchboard.__file__).parent
CATALOGUES = PACKAGE / "texts" / "catalogues"
KEYWORDS: dict[str, tuple[int, ...] | None] = {"gettext": None, "ngettext": (1, 2)}

Key = str | tuple[str, ...]


@cache
def texts_of_the_code() -> frozenset[Key]:
    """The keys that the code asks for, by Babel's own extraction."""
    found: set[Key] = set()
    for folder in (PACKAGE, PACKAGE.parent / "routes", PACKAGE.parent / "tasks"):
        for _, _, message, _, _ in extract_from_dir(folder, method_map=[("**.py", "python")], keywords=KEYWORDS):
            found.add(tuple(message) if isinstance(message, list | tuple) else message)
    return frozenset(found)


def catalogue(path: Path, locale: str | None = None) -> Catalog:
    return read_po(BytesIO(path.read_bytes()), locale=locale, abort_invalid=True)


def of_locale(locale: str) -> Catalog:
    return catalogue(CATALOGUES / locale / "LC_MESSAGES" / "switchboard.po", locale)


def keys(source: Catalog) -> set[Key]:
    return {tuple(one.id) if isinstance(one.id, list | tuple) else one.id for one in source if one.id}


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_the_template_holds_exactly_the_texts_of_the_code() -> None:
    assert keys(catalogue(CATALOGUES / "switchboard.pot")) == texts_of_the_code()


@pytest.mark.parametrize("locale", LOCALES)
def test_a_catalogue_holds_exactly_the_texts_of_the_code(locale: str) -> None:
    assert keys(of_locale(locale)) == texts_of_the_code()
    assert not of_locale(locale).obsolete


@pytest.mark.parametrize("locale", LOCALES)
def test_every_text_is_translated_in_all_its_forms_with_the_same_placeholders(locale: str) -> None:
    source = of_locale(locale)
    for message in source:
        if not message.id:
            continue
        assert not message.fuzzy
        originals = list(message.id) if isinstance(message.id, list | tuple) else [message.id]
        forms = list(message.string) if isinstance(message.string, list | tuple) else [message.string]
        assert len(forms) == (source.num_plurals if message.pluralizable else 1)
        for form in forms:
            assert form
            assert form.strip()
            assert placeholders(form) == placeholders(originals[0]), (locale, form)


@pytest.mark.parametrize("locale", ["ru", "uk"])
def test_slavic_catalogues_are_not_english(locale: str) -> None:
    for message in of_locale(locale):
        if message.id:
            form = message.string if isinstance(message.string, str) else (message.string or [""])[0]
            assert any("а" <= char.lower() <= "я" or char in "іїєґ" for char in form), form


def test_the_folder_holds_each_locale_and_nothing_compiled() -> None:
    assert {folder.name for folder in CATALOGUES.iterdir() if folder.is_dir()} == set(LOCALES)
    assert not list(CATALOGUES.rglob("*.mo"))


@pytest.mark.parametrize(
    ("locale", "forms"),
    [
        ("en", {1: "1 minute", 2: "2 minutes", 11: "11 minutes", 21: "21 minutes"}),
        (
            "ru",
            {
                1: "1 минуту",
                2: "2 минуты",
                5: "5 минут",
                11: "11 минут",
                12: "12 минут",
                21: "21 минуту",
                22: "22 минуты",
                111: "111 минут",
            },
        ),
        (
            "uk",
            {
                1: "1 хвилину",
                3: "3 хвилини",
                5: "5 хвилин",
                11: "11 хвилин",
                14: "14 хвилин",
                21: "21 хвилину",
                24: "24 хвилини",
            },
        ),
    ],
)
def test_plural_forms_are_right(locale: str, forms: dict[int, str]) -> None:
    texts = Texts.for_locale(locale)
    assert {count: texts.ngettext("{count} minute", "{count} minutes", count) for count in forms} == forms


@pytest.mark.parametrize(
    ("wanted", "locale"),
    [
        *[("ru", "ru"), ("ru-RU", "ru"), ("RU_ru", "ru"), ("uk", "uk"), ("uk-UA", "uk"), ("en", "en"), ("en-AU", "en")],
        *[("de", "en"), ("", "en"), ("pt-BR", "en"), ("rus", "en"), ("../../ru", "en")],
    ],
)
def test_the_closest_locale_is_taken_and_english_for_all_others(wanted: str, locale: str) -> None:
    assert match_locale(wanted) == locale
    assert Texts.for_locale(wanted).locale == locale
    assert DEFAULT_LOCALE == "en"


def test_a_value_with_braces_is_a_value_and_not_a_placeholder() -> None:
    assert Texts.for_locale("ru").gettext("Place: {place}", place="{name} {0}") == "Место: {name} {0}"
