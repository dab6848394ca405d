"""The look of results in a terminal."""
