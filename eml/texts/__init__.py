"""Texts of classes, and what turns them into vectors."""
