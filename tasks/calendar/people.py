"""What happens to people in Mattermost."""

from __future__ import annotations

from switchboard import wiring
from tasks.app import app


@app.task(name="calendar.people.scan_deactivated", soft_time_limit=50, only_one=True)
def scan_deactivated() -> int:
    """Pause the accounts of people who were deactivated, and let those go on who are back; return how many changed."""
    return wiring.deactivations().follow()
