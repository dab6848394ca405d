"""The data report: what a dataset contains, what is wrong with it and what to run next, as numbers and an HTML page."""

from eml.reports.data.page import write_page as write_page
from eml.reports.data.report import DataReport as DataReport
from eml.reports.data.report import examine as examine
