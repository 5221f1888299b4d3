from typing import Any

import pytest

from sandbox.mattermost.errors import AppError
from sandbox.mattermost.triggers import TriggerSigner, dialog_problems


def dialog(**element: Any) -> dict[str, Any]:
    full = {"display_name": "Zone", "name": "zone", "type": "text", "max_length": 150, **element}
    return {"title": "Connect", "elements": [full]}


def test_a_plain_dialog_has_no_problems() -> None:
    assert dialog_problems(dialog()) == []


@pytest.mark.parametrize(
    "element",
    [
        {"type": "number"},
        {"display_name": ""},
        {"display_name": "Часовой пояс вашего календаря"},
        {"min_length": 200},
        {"max_length": 0, "min_length": 1},
        {"subtype": "date"},
        {"type": "bool", "default": "yes"},
        {"type": "select", "default": "b", "options": [{"text": "A", "value": "a"}]},
        {"type": "select", "data_source": "dynamic"},
        {"type": "select", "data_source": "planets"},
        {"type": "date", "default": "21.11.2026"},
        {"type": "datetime", "time_interval": 7},
        {"help_text": "x" * 151},
        {"multiselect": True},
    ],
)
def test_a_field_the_vendor_calls_invalid_is_refused(element: dict[str, Any]) -> None:
    assert dialog_problems(dialog(**element))


def test_a_title_is_measured_in_bytes_as_the_server_does() -> None:
    assert dialog_problems({"title": "Подключение календаря", "elements": []})
    assert dialog_problems({"title": "x" * 24, "elements": []}) == []


def test_a_trigger_belongs_to_its_user_and_ends_after_its_time() -> None:
    signer = TriggerSigner()
    trigger = signer.make("u" * 26, 1_000)
    assert signer.read(trigger, 31_000, 30) == "u" * 26
    with pytest.raises(AppError) as late:
        signer.read(trigger, 31_001, 30)
    assert late.value.error_id == "interactive_message.decode_trigger_id.expired"
    with pytest.raises(AppError) as forged:
        TriggerSigner().read(trigger, 1_000, 30)
    assert forged.value.error_id == "interactive_message.decode_trigger_id.verify_signature_failed"
