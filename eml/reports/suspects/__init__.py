"""Probable label errors to be looked at: each image beside those that speak for its label and against it."""

from eml.reports.suspects.page import write_page as write_page
