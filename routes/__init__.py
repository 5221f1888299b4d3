"""HTTP: the only code that knows Flask. One blueprint per caller, and the front that faces the network."""
