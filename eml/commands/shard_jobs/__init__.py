"""One file for each command that can be cut into shards has its `job`, which makes a shard and merges all of them."""
