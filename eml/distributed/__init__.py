"""Processes that train or measure one network together: meeting, heartbeat, sharded network."""
