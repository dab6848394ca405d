"""Backward compatibility: a network whose queries fit the gallery of an older model."""
