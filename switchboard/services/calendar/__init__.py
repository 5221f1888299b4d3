"""Calendar use cases: accounts, polling, expansion, agendas, reminders and notices."""
