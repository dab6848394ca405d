"""Embeddings on disk: an index of images, filters of its rows and search."""
