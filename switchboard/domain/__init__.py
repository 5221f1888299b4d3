"""The rules of the field: pure functions over frozen values, without I/O; `now` is always an argument."""
