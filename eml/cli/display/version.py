"""`eml version` in a terminal."""


def terminal() -> None:
    """Print the version, as eml -V does."""
    from eml.versions import eml_version

    print(f"eml {eml_version()}")  # noqa: T201 - the result: stdout
