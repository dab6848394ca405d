"""The report of an evaluation: how well a model retrieves, and what it gets wrong, as one HTML page."""

from eml.reports.evaluation.evaluated import Evaluated as Evaluated
from eml.reports.evaluation.page import Additions as Additions
from eml.reports.evaluation.report import Page as Page
from eml.reports.evaluation.report import refuse_page as refuse_page
from eml.reports.evaluation.report import write_report as write_report
