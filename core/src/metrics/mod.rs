//! Counting: the four kinds of metric, owned by one shard and copied out on request.
