"""Rank networks on a user's own classes by their embeddings, before any of them is trained."""
