"""Post-processing of rankings by the structure of the searched images: query expansion, augmentation, re-ranking.

`expand_queries`, `augment_database` and `ReciprocalGallery` take queries, gallery and lists of neighbours;
`rank_expanded` and `rank_reciprocal` rank a set as `eml.retrieval.ranking.rank` does.
"""

from eml.retrieval.reranking.database_augmentation import AugmentedDatabase, augment_database
from eml.retrieval.reranking.k_reciprocal import ReciprocalGallery
from eml.retrieval.reranking.query_expansion import expand_queries
from eml.retrieval.reranking.rankers import nearest_by_scores, rank_expanded, rank_reciprocal

__all__ = [
    "AugmentedDatabase",
    "ReciprocalGallery",
    "augment_database",
    "expand_queries",
    "nearest_by_scores",
    "rank_expanded",
    "rank_reciprocal",
]
