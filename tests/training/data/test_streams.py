"""training.data.streams: no two streams share a number, and the numbers are those of all earlier results."""

from training.data.streams import Control, Draws, First, Stream


def test_no_two_streams_share_a_number():
    for registry in (First, Draws, Stream, Control):
        numbers = [member.value for member in registry.__members__.values()]
        assert len(set(numbers)) == len(numbers)


def test_the_numbers_are_those_of_earlier_results():
    assert [int(member) for member in First] == [2**64 - number for number in range(1, 8)]
    assert [int(member) for member in Draws] == [0, 1, 2, 3, 4]
    assert [int(member) for member in Stream] == [0, 1, 2, 3, 4, 5, 6, 0x1D, 0x30, 0x31, 0x32]
    assert [int(member) for member in Control] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
