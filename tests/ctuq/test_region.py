"""A region's mean and its deviation: from a posterior, from samples, in the report."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ctuq.processing_step import ProcessingStep
from ctuq.region import RegionMean, object_mask, region_by_samples
from ctuq.result_file import read_result
from ctuq.summary import summarise, summary_lines
from dip import DensePosterior
from operators import GaussianNoise, MatrixMap
from tests.ctuq.fake_results import fake_provenance, fake_reconstruction
from tests.dip.dense import randn
from tests.dip.gaussian_model import model

SHAPE = (2, 3)
MASK = torch.tensor([[True, False, True], [False, True, True]])


def test_samples_scatter_about_the_known_mean() -> None:
    image = torch.tensor([[1.0, 9.0, 2.0], [9.0, 3.0, 6.0]])
    samples = image + torch.tensor([0.3, -0.1, 0.2, 0.4])[:, None, None]
    samples[:, ~MASK] += 100
    found = region_by_samples(image, samples, MASK)
    assert found.mean == pytest.approx(3.0)
    assert found.std == pytest.approx(math.sqrt((0.09 + 0.01 + 0.04 + 0.16) / 4), rel=1e-5)
    assert found.standard_error == pytest.approx(found.std / math.sqrt(8))


def test_pixels_that_err_together_do_not_average_out() -> None:
    image, shared = torch.zeros(SHAPE), randn(4000, 1, 1)
    everything = torch.ones(SHAPE, dtype=torch.bool)
    together = region_by_samples(image, shared.expand(-1, *SHAPE), everything)
    alone = region_by_samples(image, randn(4000, *SHAPE), everything)
    assert abs(together.std - 1) < 5 * together.standard_error
    assert abs(alone.std - 1 / math.sqrt(6)) < 5 * alone.standard_error


@pytest.mark.parametrize("method", ["dense", "cholesky"])
def test_a_reconstruction_asks_its_posterior(method: str) -> None:
    small = model()
    posterior = small.dense() if method == "dense" else small.sampled()
    fake = fake_reconstruction(shape=SHAPE)
    found = replace(fake, image=posterior.mean.float(), posterior=posterior)
    weights = MASK.flatten().double() / 4
    exact = math.sqrt(float(weights @ small.exact @ weights))
    region = found.region(MASK)
    assert region.mean == pytest.approx(float(posterior.mean[MASK].mean()))
    assert abs(region.std - exact) <= 5 * region.standard_error + 1e-9
    assert (region.standard_error == 0) == (method == "dense")
    assert found.region(MASK) == region


def test_a_result_read_from_its_file_asks_its_samples(tmp_path: Path) -> None:
    made = fake_reconstruction(n_samples=16)
    again = read_result(made.save(tmp_path / "r.h5"))
    mask = made.image > 0
    assert again.region(mask) == region_by_samples(made.image, made.samples, mask)
    assert again.region(mask).standard_error > 0


@pytest.mark.parametrize("mask", [torch.zeros(SHAPE, dtype=torch.bool), MASK.mT, MASK.double()])
def test_a_region_that_is_none_is_refused(mask: Tensor) -> None:
    posterior = DensePosterior(
        MatrixMap(torch.ones(1, 6, dtype=torch.float64), in_shape=SHAPE),
        torch.eye(6, dtype=torch.float64),
        noise=GaussianNoise(1.0),
        mean=torch.zeros(SHAPE),
    )
    for found in (fake_reconstruction(shape=SHAPE), replace(fake_reconstruction(shape=SHAPE), posterior=posterior)):
        with pytest.raises(ValueError, match="mask must"):
            found.region(mask)


def test_without_posterior_and_samples_there_is_no_deviation() -> None:
    with pytest.raises(ValueError, match=r"expected samples .* got none"):
        fake_reconstruction(shape=SHAPE, n_samples=0).region(MASK)


def test_the_object_is_what_lies_above_half_of_the_maximum() -> None:
    assert object_mask(torch.tensor([[0.0, 0.4, 0.5], [0.51, 1.0, 0.9]])).tolist() == [[False] * 3, [True] * 3]


def test_the_summary_tells_the_objects_mean_with_its_deviation() -> None:
    made = fake_reconstruction(n_samples=16)
    told = summarise(made).object_mean
    assert told is not None
    assert told.region == region_by_samples(made.image, made.samples, made.image > 0.025)
    assert told.region.mean == pytest.approx(0.05)
    assert told.n_pixels == int((made.image > 0.025).sum())
    assert "from 16 samples, so itself known to 18 %" in told.sentence
    assert f"  object        {told.line}" in summary_lines(made)
    assert summarise(fake_reconstruction(n_samples=0)).object_mean is None
    assert not any("object" in line for line in summary_lines(fake_reconstruction(image=torch.zeros(24, 32))))


def test_in_words() -> None:
    assert str(RegionMean(0.038512, 0.000213, 0.0)) == "0.03851 ± 0.00021 1/mm (one deviation)"
    assert str(RegionMean(0.038512, 0.000213, 0.00004)) == "0.03851 ± 0.00021 1/mm (one deviation, known to 19 %)"
    assert str(RegionMean(0.0341, 2e-5, 0.0)) == "0.034100 ± 0.000020 1/mm (one deviation)"
    assert str(RegionMean(0.0341, 0.000996, 0.0)) == "0.0341 ± 0.0010 1/mm (one deviation)"


def test_the_summary_calls_every_step_by_its_name() -> None:
    steps = (ProcessingStep("reading", "guessed the units"), ProcessingStep("rotation axis", "at 3.5, as given"))
    lines = summary_lines(fake_reconstruction(provenance=replace(fake_provenance(), steps=steps)))
    assert "  before        reading: guessed the units" in lines
    assert "  before        rotation axis: at 3.5, as given" in lines
