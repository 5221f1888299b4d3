"""How a message of the ledger reaches a person: one module per channel, behind the Protocol in `channel.py`."""
