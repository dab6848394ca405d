"""The entry of `eml` and `python -m eml`: the command line, or the answer to a shell that completes it."""

import os


def main() -> int:
    """Run the command line and return its exit code; a shell that completes is answered without importing it."""
    if "_EML_COMPLETE" in os.environ:
        from eml.cli.completing.shells import answer_shell

        answer_shell()
        return 0
    from eml.cli.app import main as run_command_line

    return run_command_line()
