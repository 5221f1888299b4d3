"""Storage: engine, typed models and repositories. SQLite and PostgreSQL behave alike behind it."""
