from hypothesis import given
from hypothesis import strategies as st

from mam.data.batching import pack


def test_by_hand():
    assert pack([1.0, 5.0, 2.0, 2.0, 9.0], 6.0) == [(4,), (1,), (2, 3, 0)]
    assert pack([], 6.0) == []


@given(st.lists(st.floats(0.1, 40), max_size=60), st.floats(1, 100))
def test_laws(lengths, budget):
    packs = pack(lengths, budget)
    assert sorted(i for members in packs for i in members) == list(range(len(lengths)))
    for members in packs:
        longest = max(lengths[i] for i in members)
        assert len(members) == 1 or longest * len(members) <= budget
    firsts = [lengths[members[0]] for members in packs]
    assert firsts == sorted(firsts, reverse=True)
