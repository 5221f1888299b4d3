"""The command line, one module per group of commands. Errors come out as words and exit status 1, never as a traceback."""
