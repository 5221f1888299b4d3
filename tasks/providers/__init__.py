"""Access at providers."""
