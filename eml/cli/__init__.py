"""The command line: one module per command, the application, the error handler and rendering."""
