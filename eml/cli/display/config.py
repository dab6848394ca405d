"""`eml config` in a terminal."""

import typer

terminal = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@terminal.callback()
def describe() -> None:
    """Print what a config may hold: its JSON schema for editors, or an example with every key."""


@terminal.command(short_help="Print the JSON schema of a config, for an editor")
def schema() -> None:
    """Print the JSON schema of a config, for an editor that completes and checks YAML."""
    from eml.cli.display import console
    from eml.config import schema as schema_of
    from eml.training.config import RunConfig

    console.print_json(schema_of(RunConfig))


@terminal.command(short_help="Print a config with every key at its default, each with a comment")
def example() -> None:
    """Print a config with every key at its default, each with a comment."""
    from eml.training.config import example as example_config

    typer.echo(example_config(), nl=False)
