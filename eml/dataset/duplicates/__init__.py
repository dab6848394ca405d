"""Images that are equal or nearly so."""
