"""What people read: messages in English, Russian and Ukrainian, rendered from domain values; only catalogues are read."""
