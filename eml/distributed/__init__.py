"""Several processes that train or measure one network together."""
