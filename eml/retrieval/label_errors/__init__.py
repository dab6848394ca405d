"""Images whose label looks wrong."""
