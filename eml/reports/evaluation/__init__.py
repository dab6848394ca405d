"""The report of an evaluation: how well a model retrieves, and what it gets wrong, as one HTML page."""

from eml.reports.evaluation.report import write_report as write_report
