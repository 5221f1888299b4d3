"""Meetings: reading iCalendar, expanding series in UTC, agendas, reminders and wall-clock times."""
