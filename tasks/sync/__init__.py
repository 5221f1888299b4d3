"""Directory synchronisation."""
