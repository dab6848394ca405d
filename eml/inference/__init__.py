"""Loaded models, and embeddings of tables."""
