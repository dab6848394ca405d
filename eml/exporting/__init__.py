"""A trained model leaves eml, with a proof that it answers the same elsewhere."""
