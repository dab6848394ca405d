"""The training run: its config, parts, loop, validation, state and folder."""
