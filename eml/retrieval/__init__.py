"""Exact search and ranking of embeddings, metrics, and what can be concluded from them."""
