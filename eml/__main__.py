"""`python -m eml` is `eml`."""

import sys

from eml.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
