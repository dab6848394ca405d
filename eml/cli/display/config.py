"""`eml config` in a terminal."""

from typing import Annotated

import typer

terminal = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="A file or module with members of your own, which is imported first, see docs/plugins.md. Repeatable.",
        show_default=False,
    ),
]


@terminal.callback()
def describe() -> None:
    """Print what a config may hold: its JSON schema for editors, or an example with every key."""


@terminal.command(short_help="Print the JSON schema of a config, for an editor")
def schema(plugins: Plugins = None) -> None:
    """Print the JSON schema of a config, for an editor that completes and checks YAML."""
    from eml.cli.display import console
    from eml.config import schema as schema_of
    from eml.training.config import RunConfig

    _load(plugins)
    console.print_json(schema_of(RunConfig))


@terminal.command(short_help="Print a config with every key at its default, each with a comment")
def example(plugins: Plugins = None) -> None:
    """Print a config with every key at its default, each with a comment."""
    from eml.training.config import example as example_config

    _load(plugins)
    typer.echo(example_config(), nl=False)


def _load(plugins: list[str] | None) -> None:
    """Import plugins; errors name the option."""
    from eml.config import load_plugins
    from eml.errors import ConfigError, Problem

    try:
        load_plugins(plugins or ())
    except ConfigError as error:
        problems = [
            Problem(line.replace("`plugins`", "--plugin"), line.code, line.parameter) for line in error.problems
        ]
        raise ConfigError(problems) from error
