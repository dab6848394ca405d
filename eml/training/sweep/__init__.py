"""Many runs of one config: the settings of a grid, their runs, and the table of what they gave."""
