from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ctuq.ellipses import random_ellipses


@given(size=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_images_lie_between_0_and_1(size: int, seed: int) -> None:
    image = random_ellipses(size, rng=np.random.default_rng(seed))
    assert image.shape == (size, size)
    assert (image.min(), image.max()) >= (0, 0)
    assert image.max() <= 1


def test_every_image_is_another_and_a_seed_repeats_it() -> None:
    one, two, again = (random_ellipses(16, rng=np.random.default_rng(seed)) for seed in (0, 1, 0))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, two)


def test_objects_have_an_inside_an_outside_and_edges() -> None:
    image = np.stack([random_ellipses(32, rng=np.random.default_rng(seed)) for seed in range(20)])
    assert 0.05 < (image == 0).mean() < 0.95
    assert (image.reshape(20, -1).max(axis=1) == 1).all()
