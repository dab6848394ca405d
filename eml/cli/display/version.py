"""`eml version` in a terminal."""


def terminal() -> None:
    """Print the version, as eml -V does."""
    from importlib.metadata import version

    print(f"eml {version('easy-metric-learning')}")  # noqa: T201 - the result: stdout
