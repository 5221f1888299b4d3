"""The processes of one machine: what `run` starts, watches and stops."""
