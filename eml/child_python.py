"""Another Python process that imports what this one imports."""

import sys


def python_options(code: str) -> list[str]:
    """Return the options that let Python run code with the search path of this process.

    Without -P, `-c` and `-m` would put the current folder before everything else, and a `yaml.py` that lies there would
    be imported in the place of the package.
    """
    return ["-P", "-c", f"import sys\nsys.path[:] = {list(map(str, sys.path))!r}\n{code}"]
