"""A table's images and rows into packed files, which are read in place."""
