from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from operators import GaussianNoise


@pytest.mark.parametrize("variance", [0.25, torch.tensor([[0.1, 0.5, 2.0], [1.0, 0.3, 0.7]])])
def test_samples_whiten_to_unit_noise(variance: float | torch.Tensor) -> None:
    noise = GaussianNoise(variance)
    n = 20_000
    white = noise.whiten(noise.sample((n, 2, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert float((white.var(0) - 1).abs().max()) < 5 * (2 / n) ** 0.5
    assert float(white.mean(0).abs().max()) < 5 / n**0.5


@pytest.mark.parametrize("variance", [0.25, torch.tensor([[0.1, 0.5, 2.0], [1.0, 0.3, 0.7]])])
def test_log_density_is_scipys(variance: float | torch.Tensor) -> None:
    residual = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    scale = torch.as_tensor(variance).sqrt().numpy()
    expected = np.asarray(norm.logpdf(residual.numpy(), scale=scale)).sum((1, 2))
    np.testing.assert_allclose(GaussianNoise(variance).log_density(residual).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("variance", [0.0, -1.0, float("nan"), torch.tensor([[1.0, 0.0]])])
def test_variance_must_be_positive(variance: float | torch.Tensor) -> None:
    with pytest.raises(ValueError, match="variance must be positive"):
        GaussianNoise(variance)
