"""The exit codes of the command line."""

DONE = 0
CHECK_SAYS_NO = 1
"""The answer to a check is no."""
FIXABLE = 2
"""The user can mend it."""
BUG = 70
INTERRUPTED = 130
"""Ctrl-C or SIGTERM; the state is saved."""
