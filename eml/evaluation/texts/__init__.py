"""Texts of images and classes in an evaluation: retrieval by text, zero-shot classification, a cache of images."""
