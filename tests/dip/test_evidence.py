from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal

from dip import RayCovariance, log_evidence, log_predictive, maximise, predictive_factor
from dip.evidence import Learned
from tests.dip.dense import generator, positive_definite, randn

N = 9
VARIANCES = {"weights": 0.7, "pixels": 2.0, "noise": 0.4, "edges": 1.3}
SINGULAR: type[RuntimeError] = torch.linalg.LinAlgError  # type: ignore[attr-defined]
HELD_OUT = torch.tensor([False, True, False, False, True, True, False, False, False])


def covariance(n: int = N) -> RayCovariance:
    low_rank = randn(n, 3, seed=5)
    return RayCovariance(
        {"weights": low_rank @ low_rank.mT, "pixels": positive_definite(n, seed=6)},
        {"noise": torch.ones(n, dtype=torch.float64), "edges": randn(n, seed=7).square()},
    )


def written_out(logs: Tensor, rays: RayCovariance) -> Tensor:
    """K with its dependence on log θ open to autograd."""
    terms = [*rays.grams.values(), *(torch.diag(d) for d in rays.diagonals.values())]
    return torch.stack([log.exp() * term for log, term in zip(logs, terms, strict=True)]).sum(0)


def log_normal(data: Tensor, covariance: Tensor) -> Tensor:
    density: Tensor = MultivariateNormal(torch.zeros_like(data), covariance).log_prob(data)  # type: ignore[no-untyped-call]
    return density


def open_logs() -> Tensor:
    return torch.tensor(list(VARIANCES.values()), dtype=torch.float64).log().requires_grad_()


def test_matrix_is_the_weighted_sum_of_its_terms() -> None:
    rays = covariance()
    assert rays.names == tuple(VARIANCES)
    torch.testing.assert_close(rays.matrix(VARIANCES), written_out(open_logs().detach(), rays))
    expected = 0.4 + 1.3 * rays.diagonals["edges"]
    torch.testing.assert_close(rays.diagonal(VARIANCES), expected)


def test_selected_rays_have_the_block_of_the_whole() -> None:
    some = torch.tensor([7, 0, 3])
    whole, part = covariance().matrix(VARIANCES), covariance().select(some).matrix(VARIANCES)
    torch.testing.assert_close(part, whole[some][:, some])


def test_start_explains_signal_and_noise_by_the_average_ray() -> None:
    rays = covariance()
    start = rays.start(signal=3.0, noise=0.02)
    assert tuple(start) == rays.names
    assert float(rays.diagonal(start).mean()) == pytest.approx(0.02)
    assert float(rays.matrix(start).diagonal().mean()) == pytest.approx(3.02)


def test_log_evidence_is_torchs_normal_with_its_gradient() -> None:
    rays, data, logs = covariance(), randn(N), open_logs()
    expected = log_normal(data, written_out(logs, rays))
    (slope,) = torch.autograd.grad(expected, logs)
    value, gradient = log_evidence(rays, VARIANCES, data)
    assert float(value) == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(gradient, slope)


def conditional(matrix: Tensor, held_out: Tensor) -> Tensor:
    """K_hh − K_hf K_ff⁻¹ K_fh."""
    h, f = torch.nonzero(held_out)[:, 0], torch.nonzero(~held_out)[:, 0]
    gain: Tensor = torch.linalg.solve(matrix[f][:, f], matrix[f][:, h])
    return matrix[h][:, h] - matrix[h][:, f] @ gain


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_log_predictive_is_the_conditional_normal_and_a_share_of_the_evidence(share: float) -> None:
    rays, residuals, data, logs = covariance(), randn(2, N), randn(N, seed=1), open_logs()
    matrix = written_out(logs, rays)
    sets = torch.stack([HELD_OUT, HELD_OUT.roll(1)])
    expected = share * log_normal(data, matrix)
    for residual, held in zip(residuals, sets, strict=True):
        expected = expected + log_normal(residual[held], conditional(matrix, held))
    (slope,) = torch.autograd.grad(expected, logs)
    value, gradient = log_predictive(rays, VARIANCES, residuals, sets, data=data, share=share)
    assert float(value) == pytest.approx(expected.item(), rel=1e-10)
    torch.testing.assert_close(gradient, slope)


def test_log_predictive_reads_no_residual_of_a_fitted_ray() -> None:
    residual = randn(1, N)
    elsewhere = torch.where(HELD_OUT, residual, 1e6)
    value, gradient = log_predictive(covariance(), VARIANCES, residual, HELD_OUT[None], data=randn(N), share=0.1)
    again, slope = log_predictive(covariance(), VARIANCES, elsewhere, HELD_OUT[None], data=randn(N), share=0.1)
    assert value == again
    assert torch.equal(gradient, slope)


@settings(max_examples=30, deadline=None)
@given(held=st.lists(st.booleans(), min_size=N, max_size=N).filter(any))
def test_predictive_factor_is_the_schur_complements(held: list[bool]) -> None:
    matrix, mask = covariance().matrix(VARIANCES), torch.tensor(held)
    factor = predictive_factor(torch.linalg.cholesky(matrix), mask)
    assert torch.equal(factor, factor.tril())
    torch.testing.assert_close(factor @ factor.mT, conditional(matrix, mask))


def fisher_information(rays: RayCovariance, variances: Mapping[str, float]) -> Tensor:
    """Of log θ: ½ tr(K⁻¹ θ_i K_i K⁻¹ θ_j K_j)."""
    logs = torch.tensor(list(variances.values()), dtype=torch.float64).log()
    terms = [*rays.grams.values(), *(torch.diag(d) for d in rays.diagonals.values())]
    matrix = written_out(logs, rays)
    parts = [log.exp() * torch.linalg.solve(matrix, term) for log, term in zip(logs, terms, strict=True)]
    return torch.stack([torch.stack([0.5 * (a * b.mT).sum() for b in parts]) for a in parts])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_maximise_recovers_the_variances_that_made_the_data(seed: int) -> None:
    n = 300
    root = randn(n, 100, seed=10)
    rays = RayCovariance({"prior": root @ root.mT / 100}, {"noise": torch.ones(n, dtype=torch.float64)})
    truth = {"prior": 5.0, "noise": 0.3}
    data = torch.linalg.cholesky(rays.matrix(truth)) @ randn(n, seed=seed)
    learned = maximise(lambda v: log_evidence(rays, v, data), rays.start(signal=1.0, noise=1.0))
    spread = torch.linalg.inv(fisher_information(rays, truth)).diagonal().sqrt()
    for name, sd in zip(truth, spread.tolist(), strict=True):
        assert abs(math.log(learned.variances[name] / truth[name])) < 5 * sd
    assert learned.converged
    assert learned.objective == pytest.approx(float(log_evidence(rays, learned.variances, data)[0]))
    assert learned.objective >= log_evidence(rays, truth, data)[0]


def hill(variances: Mapping[str, float]) -> tuple[float, Tensor]:
    """Highest at a = e², b = e⁻³."""
    a, b = math.log(variances["a"]) - 2, math.log(variances["b"]) + 3
    return -(a * a) - 4 * b * b, torch.tensor([-2 * a, -8 * b], dtype=torch.float64)


def test_a_floor_holds_and_the_others_go_where_they_want() -> None:
    start = {"a": 1.0, "b": 1.0}
    free, held = maximise(hill, start), maximise(hill, start, floors={"b": 0.5})
    assert free.variances == pytest.approx({"a": math.exp(2), "b": math.exp(-3)}, rel=1e-2)
    assert held.variances["b"] == pytest.approx(0.5, rel=1e-12)
    assert held.variances["a"] == pytest.approx(math.exp(2), rel=1e-2)


def test_a_start_below_the_floor_is_lifted() -> None:
    learned = maximise(hill, {"a": 1.0, "b": 1e-20}, floors={"b": 0.5})
    assert learned.variances["b"] == pytest.approx(0.5, rel=1e-12)


def test_a_step_to_where_the_matrix_is_singular_turns_back() -> None:
    def cliff(variances: Mapping[str, float]) -> tuple[float, Tensor]:
        if variances["a"] > 1e4:
            raise SINGULAR("not positive-definite")
        value, slope = hill(variances)
        return 100 * value, 100 * slope

    learned = maximise(cliff, {"a": 1e-2, "b": 1.0})
    assert learned.variances == pytest.approx({"a": math.exp(2), "b": math.exp(-3)}, rel=1e-2)
    with pytest.raises(SINGULAR):
        maximise(cliff, {"a": 1e5, "b": 1.0})


def test_evaluations_are_counted_limited_and_told() -> None:
    told: list[tuple[int, int]] = []
    learned = maximise(
        hill, {"a": 1e-9, "b": 1e9}, max_evaluations=2, on_step=lambda done, total, _: told.append((done, total))
    )
    assert not learned.converged
    assert learned.evaluations == len(told)
    assert told[:2] == [(1, 2), (2, 2)]
    assert all(done <= 2 for done, _ in told)


def test_scaling_scales_every_variance_alike_down_to_its_floor() -> None:
    learned = Learned({"a": 1.0, "b": 3.0}, -5.0, 7, converged=True)
    assert learned.scaled(2.0, {}) == Learned({"a": 2.0, "b": 6.0}, -5.0, 7, converged=True)
    assert learned.scaled(0.5, {"a": 0.8}) == Learned({"a": 0.8, "b": 1.5}, -5.0, 7, converged=True)


def test_scaling_leaves_lengths_alone() -> None:
    learned = Learned({"a": 1.0, "a.length": 3.0}, -5.0, 7, converged=True, lengths=("a.length",))
    assert learned.scaled(2.0, {"a.length": 9.0}).variances == {"a": 2.0, "a.length": 3.0}


def test_a_ceiling_holds() -> None:
    learned = maximise(hill, {"a": 1.0, "b": 1.0}, ceilings={"a": 2.0})
    assert learned.variances["a"] == pytest.approx(2.0, rel=1e-12)
    assert learned.variances["b"] == pytest.approx(math.exp(-3), rel=1e-2)


def test_draws_from_the_model_score_zero_on_average() -> None:
    rays, n = covariance(), 400
    root = torch.linalg.cholesky(rays.matrix(VARIANCES))
    slopes = [
        log_evidence(rays, VARIANCES, root @ torch.randn(N, generator=generator(seed), dtype=torch.float64))[1]
        for seed in range(n)
    ]
    spread = fisher_information(rays, VARIANCES).diagonal().sqrt() / math.sqrt(n)
    assert (torch.stack(slopes).mean(0).abs() < 5 * spread).all()
