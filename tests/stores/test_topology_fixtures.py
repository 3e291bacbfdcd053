"""The Sentinel groups and Clusters of the tests themselves."""

import pytest
from plugins.redis_topologies import SERVICE, SentinelGroup
from support.waiting import eventually

pytestmark = pytest.mark.heavy


def test_a_killed_primary_of_a_sentinel_group_is_replaced_and_returns_as_a_replica(own_sentinel):
    old, new = own_sentinel.primary, own_sentinel.replica
    old.kill()
    promoted = eventually(lambda: own_sentinel.primary is new)
    old.start()
    own_sentinel.wait_until_ready()

    assert promoted
    # On a busy machine, hasty Sentinels may promote the old primary again.
    assert eventually(lambda: len(own_sentinel.replicas_of(own_sentinel.primary)) == 1)


@pytest.fixture
def patient_sentinel(redis_binary, tmp_path):
    """Sentinels that do not take a primary for dead on a busy machine."""
    group = SentinelGroup(redis_binary, tmp_path, lines=[f"sentinel down-after-milliseconds {SERVICE} 60000"])
    try:
        group.start()
        yield group
    finally:
        group.stop()


def test_a_sentinel_group_fails_over_on_demand(patient_sentinel):
    new = patient_sentinel.replica
    patient_sentinel.fail_over()

    assert patient_sentinel.primary is new
    assert patient_sentinel.promotions == 1


def test_a_lost_election_is_no_promotion(patient_sentinel):
    for sentinel in patient_sentinel.sentinels:
        # A vote for an unknown Sentinel in a late epoch.
        port = patient_sentinel.primary.port
        sentinel.run("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", port, "5", "f" * 40)
    before = patient_sentinel.promotions
    patient_sentinel.fail_over()
    epoch = patient_sentinel.sentinels[0].run("SENTINEL", "MASTER", SERVICE)["config-epoch"]

    assert int(epoch) > 5
    assert (before, patient_sentinel.promotions) == (0, 1)


def test_a_hung_primary_of_a_cluster_is_replaced_and_returns_as_a_replica(own_cluster):
    old = own_cluster.primary_of("a")
    (replica,) = own_cluster.replicas_of(old)
    old.hang()
    promoted = eventually(lambda: own_cluster.primary_of("a") is replica)
    old.resume()
    own_cluster.wait_until_ready()

    assert promoted
    assert own_cluster.replicas_of(replica) == [old]


def test_a_cluster_fails_over_on_demand(own_cluster):
    old = own_cluster.primary_of("a")
    own_cluster.fail_over(old)

    assert own_cluster.primary_of("a") is not old
