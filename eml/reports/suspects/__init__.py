"""The page of probable label errors: each image beside images of its own label and of the suggested one."""

from eml.reports.suspects.page import write_page as write_page
