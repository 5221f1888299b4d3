"""What organisations send, without any I/O: markup, templates, answers."""
