"""One module per command: its config and its function, which the command line, Python and the docs share."""
