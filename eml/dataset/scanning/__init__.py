"""A folder of images to a table."""
