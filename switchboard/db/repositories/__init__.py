"""Queries and guarded changes, one file per aggregate. A repository works inside the caller's transaction."""
