"""The data report: what is in a dataset, what is wrong with it and what to run, as numbers and as one HTML page."""

from eml.reports.data.facts import DataReport as DataReport
from eml.reports.data.report import examine as examine
from eml.reports.data.report import write_page as write_page
