"""Organisations: whom they notify of documents, in which words, and what became of it."""
