"""The single primary of a store that is no Cluster, for tests that disturb it."""


def client_of(store):
    (shard,) = store.topology.shards.values()
    return shard.client


def monitor_of(store):
    (shard,) = store.topology.shards.values()
    return shard.monitor
