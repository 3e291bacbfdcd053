"""The check of answers itself: it must notice what is wrong."""

import pytest
from faults.catalogue import Fault, flush
from faults.load import Call, History, Rewind
from faults.scene import Scene, play

# Three writes of one account, of which the second may or may not have happened.
WRITES = {"a": [Call("a", 1, 2, 201, 1), Call("a", 3, 4, 503, 2), Call("a", 5, 6, 200, 3)]}
REWIND = Rewind(7, 8, earliest=2.5, latest=2.6)


@pytest.mark.parametrize(
    ("number", "begin", "end"),
    [(None, 0, 1.5), (1, 1.5, 1.6), (1, 2, 3), (2, 3.5, 3.6), (1, 4.5, 5), (3, 5, 5.5), (3, 7, 8)],
)
def test_an_answer_that_the_writes_allow_is_right(number, begin, end):
    assert History(WRITES).allows("a", number, begin, end)


@pytest.mark.parametrize(
    ("number", "begin", "end"),
    [(1, 0, 0.5), (None, 2.5, 3), (3, 4.5, 4.9), (1, 6.5, 7), (2, 6.5, 7), (None, 6.5, 7), (4, 7, 8)],
)
def test_an_answer_from_before_or_from_nowhere_is_wrong(number, begin, end):
    assert not History(WRITES).allows("a", number, begin, end)


def test_what_has_been_read_once_is_not_older_later():
    history = History(WRITES, [Call("a", 4, 4.2, 200, 2)])

    assert history.allows("a", 1, 4.1, 4.3)
    assert not history.allows("a", 1, 4.3, 4.4)


def test_an_old_answer_is_right_within_its_bound():
    assert History(WRITES).allows("a", 1, 6.5, 7, stale=1)
    assert not History(WRITES).allows("a", 1, 6.5, 7, stale=0.1)


@pytest.mark.parametrize(
    ("number", "begin", "allowed"),
    [(3, 7.5, True), (1, 7.5, True), (1, 9, True), (3, 9, False), (None, 9, False)],
)
def test_after_a_restore_the_answers_are_those_of_the_backup(number, begin, allowed):
    assert History(WRITES, rewind=REWIND).allows("a", number, begin, begin) is allowed


@pytest.mark.heavy
async def test_lost_writes_are_noticed(single, tmp_path):
    async def lose(scene):
        await flush(scene)

    fault = Fault(name="lose", what="", promise="", act=lose)
    figures, wrong = await play(fault, Scene(single, tmp_path))

    assert figures.lost
    assert any(line.startswith("hot") and " was None" in line for line in wrong)
    assert any(line.startswith("the store has None") for line in wrong)
