"""The page of a proof: whether an exported model embeds as its checkpoint does, and which images moved most."""
