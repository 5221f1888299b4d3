"""Secrets at rest."""

from __future__ import annotations

import pytest

from switchboard.crypto import SecretBox
from switchboard.errors import ConfigError

OLD, NEW = "o" * 32, "n" * 32


@pytest.mark.parametrize("text", ["", "app password", "пароль 👋", "x" * 10_000, "line\nbreak\0"])
def test_what_was_sealed_opens_again(text: str) -> None:
    box = SecretBox([OLD])
    assert box.decrypt(box.encrypt(text)) == text


def test_a_token_shows_neither_its_text_nor_that_two_texts_are_equal() -> None:
    box = SecretBox([OLD])
    one, other = box.encrypt("app password"), box.encrypt("app password")
    assert one != other
    assert "app password" not in one


def test_a_new_key_reads_what_the_old_one_sealed_and_seals_by_itself() -> None:
    sealed = SecretBox([OLD]).encrypt("text")
    both = SecretBox([NEW, OLD])
    assert both.decrypt(sealed) == "text"
    assert SecretBox([NEW]).decrypt(both.encrypt("text")) == "text"


def test_a_rotated_token_needs_the_new_key_alone_and_keeps_its_age() -> None:
    sealed = SecretBox([OLD]).encrypt("text")
    rotated = SecretBox([NEW, OLD]).rotate(sealed)
    assert SecretBox([NEW]).decrypt(rotated) == "text"
    with pytest.raises(ConfigError):
        SecretBox([OLD]).decrypt(rotated)
    assert rotated[:12] == sealed[:12]  # version and time of a Fernet token, nine bytes


@pytest.mark.parametrize("token", ["", "nonsense", "gAAAAA", "токен", "x" * 200])
def test_a_token_that_no_key_opens_is_said_in_words_without_the_token(token: str) -> None:
    box = SecretBox([OLD])
    for call in (box.decrypt, box.rotate):
        with pytest.raises(ConfigError, match="SECRET_KEYS") as caught:
            call(token)
        assert caught.value.__suppress_context__
        assert not token or token not in str(caught.value)


def test_a_changed_token_does_not_open() -> None:
    box = SecretBox([OLD])
    sealed = box.encrypt("text")
    changed = sealed[:-5] + ("A" if sealed[-5] != "A" else "B") + sealed[-4:]
    with pytest.raises(ConfigError):
        box.decrypt(changed)


def test_the_wrong_key_does_not_open() -> None:
    with pytest.raises(ConfigError):
        SecretBox([NEW]).decrypt(SecretBox([OLD]).encrypt("text"))


def test_the_derivation_of_keys_stays_as_it_is() -> None:
    """A token made by an earlier release: if this fails, every stored secret of every deployment is lost."""
    sealed = "gAAAAABrASreG0hgWrykHIA7A7Q-1NHS2f-ZsYyLsuERJT6TsdRkmLub0b019RUUlY2C4nieSk2U6KH01Cg7lSeIdFZ0exfvKg=="
    assert SecretBox([OLD]).decrypt(sealed) == "an app password"


def test_no_key_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(ConfigError, match="SECRET_KEYS"):
        SecretBox([])


def test_no_key_in_the_repr() -> None:
    assert OLD not in repr(SecretBox([OLD]))
