"""Embeddings on disk: filters of their rows and search."""
