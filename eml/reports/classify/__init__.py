"""The page of classified images, sorted by doubt."""

from eml.reports.classify.page import DoubtOrder as DoubtOrder
from eml.reports.classify.page import write_classify_page as write_classify_page
