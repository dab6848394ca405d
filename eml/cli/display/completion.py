"""`eml completion`: the script by which a shell completes eml's command line."""

import os
import sys
from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """The shells that can complete."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def terminal(
    shell: Annotated[
        Shell | None,
        typer.Argument(metavar="SHELL", help="bash, zsh or fish. Default: as $SHELL says.", show_default=False),
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Write the script where the shell looks for it, in your home folder.")
    ] = False,
) -> None:
    """Print the script by which a shell completes commands, options, files, config keys and names of models.

    Without root: eml completion --install, then open a new shell. It writes one file and changes no other; where a
    line has to be added to a file of yours, it says which.
    """
    from eml.cli.completing import install as installing
    from eml.cli.completing.shells import script
    from eml.cli.streams import stdout_may_close

    name = shell.value if shell else installing.shell_of(os.environ)
    if not install:
        with stdout_may_close():
            sys.stdout.write(script(name))
        return
    place, rest = installing.install(name)
    print(f"{name} completes eml by {place}: {rest}")  # noqa: T201 - the result: stdout
