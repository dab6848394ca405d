"""The entry of `eml` and `python -m eml`: the command line, or the answer to a shell that completes it.

Nothing but Python's own library is imported before the line on a package that is missing can be written.
"""

import gc
import os
import sys

from eml.cli.exit_codes import FIXABLE
from eml.imported import missing_package


def main() -> int:
    """Run the command line and return its exit code; a shell that completes is answered without importing it."""
    if "_EML_COMPLETE" in os.environ:
        from eml.cli.completing.shells import answer_shell

        answer_shell()
        return 0
    try:
        from eml.cli.app import main as run_command_line
    except ModuleNotFoundError as error:
        line = missing_package(error)
        if line is None:
            raise
        print(line, file=sys.stderr)  # noqa: T201 - an error
        return FIXABLE
    code = run_command_line()
    gc.freeze()  # Python would look through all objects of torch at its end, which takes two seconds
    return code
