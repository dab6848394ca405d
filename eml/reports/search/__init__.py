"""The page of a search: each query beside its nearest images."""

from eml.reports.search.page import write_search_page as write_search_page
