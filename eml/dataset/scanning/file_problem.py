"""A file that cannot be used."""

from typing import NamedTuple


class FileProblem(NamedTuple):
    """A row of dataset_errors.csv: a file that cannot be used."""

    file_name: str
    """POSIX, relative to the root; bytes that are not UTF-8 as \\xNN."""
    reason: str
    """eml.images.decode.Reason, or not_in_a_class, outside_dataset, linked_folder, unusable_name."""
    detail: str
