from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem.policy.batching import Caps, caps, halves


@given(
    st.lists(st.integers(0, 5_000_000), min_size=1, max_size=300),
    st.integers(1, 120),
    st.integers(1, 4_000_000),
)
def test_batches_respect_their_caps_keep_order_and_leave_nothing_out(
    sizes: list[int], documents: int, most: int
) -> None:
    limit = Caps(documents, most)
    batches: list[list[int]] = []
    for size in sizes:
        if batches and limit.fits(len(batches[-1]), sum(batches[-1]), size):
            batches[-1].append(size)
        else:
            assert limit.fits(0, 0, size)  # a message that is too large for any batch goes alone, it does not stay
            batches.append([size])

    assert [size for batch in batches for size in batch] == sizes
    assert all(len(batch) <= documents for batch in batches)
    assert all(sum(batch) <= most or len(batch) == 1 for batch in batches)


@given(st.integers(1, 1000), st.integers(1, 10**7))
def test_without_batching_every_message_goes_alone(documents: int, size: int) -> None:
    assert not caps(batching=False, documents=documents, size=size).fits(1, 0, 0)


@given(st.integers(2, 100_000))
def test_halves_are_shorter_and_complete(count: int) -> None:
    front, rest = halves(count)
    assert front + rest == count
    assert 0 < rest <= front < count
