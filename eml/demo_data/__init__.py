"""Drawn characters, to try every command without images of one's own."""
