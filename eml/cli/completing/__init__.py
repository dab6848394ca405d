"""Completion of the command line in bash, zsh and fish; what it imports is the standard library, and YAML."""
