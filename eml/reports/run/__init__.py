"""The report of a training run: its config, curves, times, verdict and augmented images, as one HTML page."""

from eml.reports.run.page import write_page as write_page
from eml.reports.run.run_summary import RunSummary as RunSummary
from eml.reports.run.run_summary import summarize_run as summarize_run
