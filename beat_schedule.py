"""What happens regularly, as plain data: entry name -> task by name, when, and how long its message stays of use.

`every_s` is a period in seconds; `daily_at` a time of day in UTC. `expires_s` drops the message of a tick that no worker
took in time: the next tick does its work. Every task here is a scan: it may be skipped when one is running.
"""

from __future__ import annotations

SCHEDULE: dict[str, dict[str, str | int]] = {
    "accounts whose poll is due": {"task": "calendar.accounts.scan_due", "every_s": 15, "expires_s": 15},
    "reminders that are due": {"task": "calendar.reminders.scan_due", "every_s": 15, "expires_s": 15},
    "agendas that are due": {"task": "calendar.agendas.scan_due", "every_s": 15, "expires_s": 15},
    "statuses that may change": {"task": "calendar.statuses.scan_due", "every_s": 15, "expires_s": 15},
    "changes to tell of": {"task": "calendar.changes.scan_due", "every_s": 15, "expires_s": 15},
    "answers to write or to show": {"task": "calendar.answers.scan_open", "every_s": 15, "expires_s": 15},
    "objects that wait for expansion": {"task": "calendar.occurrences.scan_waiting", "every_s": 60, "expires_s": 60},
    "occurrences that run out": {"task": "calendar.occurrences.extend_horizon", "every_s": 3600, "expires_s": 1800},
    "people who are deactivated": {"task": "calendar.people.scan_deactivated", "every_s": 300, "expires_s": 300},
    "messages of Telegram to handle": {"task": "telegram.inbox.scan_waiting", "every_s": 15, "expires_s": 15},
    "open deliveries": {"task": "delivery.ledger.scan_open", "every_s": 15, "expires_s": 15},
    "notices to follow up": {"task": "delivery.documents.scan_due", "every_s": 15, "expires_s": 15},
    "digests that are due": {"task": "delivery.documents.scan_digests", "every_s": 15, "expires_s": 15},
    "mailings that are due": {"task": "delivery.documents.scan_mailings", "every_s": 60, "expires_s": 60},
    "telegram of organisations": {"task": "delivery.documents.watch_service", "every_s": 60, "expires_s": 60},
    "what was kept long enough": {"task": "upkeep.retention.erase", "daily_at": "03:10", "expires_s": 21_600},
}
