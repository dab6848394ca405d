"""The routes of a server: each module adds its own to the application."""
