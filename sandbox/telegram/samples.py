"""The people a new twin begins with, so that a newcomer can sign in and write at once."""

from __future__ import annotations

from sandbox.telegram.twin import TelegramTwin

OFFICE_PHONE, OFFICE_PASSWORD = "+9996612001", "sandbox"  # an organisation's account: code, then this password
BOT_NAME, BOT_TOKEN = "switchboard_sandbox_bot", "5000000001:sandbox-bot-token-of-the-loopback-twin"
PEOPLE = (("Анна", "Иванова", "+9996612002", "anna_ivanova"), ("Boris", "Novak", "+9996612003", "boris_novak"))


def add_samples(twin: TelegramTwin) -> None:
    """Make them where they are missing; a restart finds them again."""
    world = twin.world
    if world.by_phone(OFFICE_PHONE.lstrip("+")) is None:
        twin.add_person(
            "Office", phone=OFFICE_PHONE, username="office_demo", password=OFFICE_PASSWORD, hint=OFFICE_PASSWORD
        )
    for first, last, phone, username in PEOPLE:
        if world.by_phone(phone.lstrip("+")) is None:
            twin.add_person(first, last, phone=phone, username=username)
    if world.by_token(BOT_TOKEN) is None:
        twin.add_bot("Switchboard", BOT_NAME, token=BOT_TOKEN)
