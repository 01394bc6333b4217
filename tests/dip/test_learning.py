from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from dip import (
    EvidenceSettings,
    Fit,
    Holdout,
    Learned,
    LinearModel,
    PosteriorSettings,
    TotalVariationPrior,
    UNet,
    UNetSettings,
    hold_out,
    learn,
    log_evidence,
    temperature,
)
from dip.learning_task import conditioned_on, evenly_spread, learned_from
from tests.dip.dense import generator, randn
from tests.dip.test_linear_model import model, variances

FLOORS = {"pixels": 1e-6}
HOLDOUT = hold_out((3, 8), 0.2, generator=generator())
RESIDUAL = torch.where(HOLDOUT.chooses, randn(1, 3, 8, seed=11), 0.0)
DATA = randn(3, 8, seed=12)
linear = functools.cache(model)


def found(residual: Tensor = RESIDUAL) -> Fit:
    """A fit of which only the image and the held-out residuals are read."""
    nothing = torch.zeros(1)
    network = UNet(UNetSettings(channels=(2,), skip_channels=()), generator=generator())
    image = torch.zeros(5, 7, dtype=torch.float64)
    return Fit((network,), image, image, 0.0, 0.1, (1,), residual, nothing, nothing, nothing)


def run(
    data: Tensor = DATA, *, fit: Fit | None = None, linear_model: LinearModel | None = None, **changes: Any
) -> Learned:
    settings = EvidenceSettings(max_evaluations=15, **changes)
    return learn(
        linear_model or linear(),
        fit or found(),
        data,
        HOLDOUT,
        floors=FLOORS,
        settings=settings,
        solving=PosteriorSettings(),
        generator=generator(5),
    )


def learn_from(kind: Any, settings: EvidenceSettings, *, seed: int, on_step: Any = None) -> Learned:
    """From data that the model itself might give."""
    root = torch.linalg.cholesky(linear(kind).covariance.matrix(variances(linear(kind))))
    data = (root @ randn(24, seed=seed) - linear(kind).response).reshape(3, 8)
    return learn(
        linear(kind),
        found(),
        data,
        HOLDOUT,
        floors=FLOORS,
        settings=settings,
        solving=PosteriorSettings(),
        generator=generator(5),
        on_step=on_step,
    )


@pytest.mark.parametrize("method", ["held-out", "exact", "em", "tv-map"])
def test_judging_rays_teach_nothing(method: Any) -> None:
    spoiled = torch.where(HOLDOUT.judges, 100.0, DATA)
    other = found(RESIDUAL + 100.0 * HOLDOUT.judges)
    assert run(spoiled, fit=other, method=method).variances == run(method=method).variances


def test_without_a_share_only_the_choosing_rays_teach() -> None:
    changed = torch.where(HOLDOUT.fitted, 5 * DATA, DATA)
    assert run(changed, fitted_share=0.0).variances == run(fitted_share=0.0).variances
    assert run(changed, fitted_share=0.5).variances != run(fitted_share=0.5).variances


def test_exact_is_the_evidence_of_the_linear_model() -> None:
    rays = torch.nonzero(~HOLDOUT.judges.reshape(-1))[:, 0]
    learned = run(method="exact")
    data = (DATA.reshape(-1) + linear().response)[rays]
    value, _ = log_evidence(linear().covariance.select(rays), learned.variances, data)
    assert learned.objective == pytest.approx(float(value))


@pytest.mark.parametrize("method", ["held-out", "exact", "em", "tv-map"])
def test_lengths_of_filters_are_learned_within_bounds_and_kept_apart(method: Any) -> None:
    learned = run(linear_model=linear("filter-gp"), method=method)
    assert learned.lengths == linear("filter-gp").covariance.lengths
    assert set(learned.variances) == set(linear("filter-gp").covariance.names)
    assert all(0.1 * (1 - 1e-9) <= learned.variances[name] <= 30 * (1 + 1e-9) for name in learned.lengths)
    assert any(learned.variances[name] != 1.0 for name in learned.lengths)


@pytest.mark.parametrize("kind", ["block", "filter-gp"])
@pytest.mark.parametrize("seed", [6, 8])
def test_em_finds_the_evidence_that_the_optimiser_finds(kind: Any, seed: int) -> None:
    told: list[tuple[int, int, dict[str, float]]] = []
    exact = learn_from(kind, EvidenceSettings(method="exact", max_evaluations=200), seed=seed)
    em = learn_from(
        kind,
        EvidenceSettings(method="em", max_evaluations=100, n_draws=64),
        seed=seed,
        on_step=lambda *step: told.append(step),
    )
    assert abs(em.objective - exact.objective) < 0.01 * abs(exact.objective)
    assert em.converged
    gains = [info["gain"] for _, _, info in told]
    assert [step[:2] for step in told] == [(n + 1, 100) for n in range(em.evaluations)]
    assert gains[-1] <= 1e-2 < gains[0]
    assert em.variances["pixels"] >= FLOORS["pixels"]


@pytest.mark.parametrize("kind", ["block", "filter-gp"])
@pytest.mark.parametrize("rank", [0, 6])
def test_em_of_a_model_of_few_rays_learns_from_all_that_are_fitted(kind: Any, rank: int) -> None:
    whole, rays = linear(kind), torch.nonzero(~HOLDOUT.judges.reshape(-1))[:, 0]
    some = torch.arange(0, 24, 3)
    few = dataclasses.replace(whole, rays=some, covariance=whole.covariance.select(some), response=whole.response[some])
    root = torch.linalg.cholesky(whole.covariance.matrix(variances(whole)))
    drive = root @ randn(24, seed=6)
    data = (drive - whole.response).reshape(3, 8)
    evidence = functools.partial(log_evidence, whole.covariance.select(rays), data=drive[rays])

    def learned(linear_model: LinearModel, method: Any) -> Learned:
        return learn(
            linear_model,
            found(),
            data,
            HOLDOUT,
            floors=FLOORS,
            settings=EvidenceSettings(method=method, max_evaluations=100, n_draws=64),
            solving=PosteriorSettings(preconditioner_rank=rank, block=20),
            generator=generator(5),
        )

    best, by_algebra, by_products = learned(whole, "exact"), learned(whole, "em"), learned(few, "em")
    assert by_products.converged
    reached, dense = (float(evidence(variances=one.variances)[0]) for one in (by_products, by_algebra))
    assert reached == pytest.approx(dense, abs=0.02)
    assert abs(reached - best.objective) < 0.01 * abs(best.objective)
    of_few = float(evidence(variances=learned(few, "exact").variances)[0])
    assert best.objective - of_few > 10 * (best.objective - reached)  # it is the other rays that teach
    own = few.covariance.select(torch.nonzero(~HOLDOUT.judges.reshape(-1)[some])[:, 0])
    kept = ~HOLDOUT.judges.reshape(-1)[some]
    assert by_products.objective == pytest.approx(float(log_evidence(own, by_products.variances, drive[some][kept])[0]))


IMAGE = randn(5, 7, seed=13)


def test_tv_map_is_the_evidence_with_a_prior_in_units_of_the_fitted_image() -> None:
    fit = dataclasses.replace(found(), image=IMAGE)
    rate = 3.0 / float(IMAGE.diff(dim=0).abs().sum() + IMAGE.diff(dim=1).abs().sum())
    prior = TotalVariationPrior(linear().jacobian, linear().groups, rate=rate)
    rays = torch.nonzero(~HOLDOUT.judges.reshape(-1))[:, 0]
    drive = ((DATA - linear().transform(IMAGE)).reshape(-1) + linear().response)[rays]
    learned = run(fit=fit, method="tv-map", tv_strength=3.0)
    value, _ = log_evidence(linear().covariance.select(rays), learned.variances, drive)
    assert learned.objective == pytest.approx(float(value) + prior.log_density(learned.variances)[0])


def test_the_stronger_the_prior_the_less_the_prior_images_vary() -> None:
    fit = dataclasses.replace(found(), image=IMAGE)
    weak, medium, strong = (
        run(fit=fit, method="tv-map", tv_strength=strength).variances["all"] for strength in (0.01, 10.0, 1e4)
    )
    assert weak > medium > strong


def test_temperature_is_one_where_the_variances_are_right_and_scales_with_the_residual() -> None:
    right = Learned(variances(linear()), 0.0, 0, converged=True)
    rays = torch.nonzero(~HOLDOUT.judges.reshape(-1))[:, 0]
    root = torch.linalg.cholesky(linear().covariance.select(rays).matrix(right.variances))
    held = HOLDOUT.chooses.reshape(-1)[rays]
    factors = []
    for seed in range(400):
        draw = root @ randn(len(rays), seed=seed)
        # Residuals are against what the fitted rays predict.
        prior = root @ root.mT
        gain = torch.linalg.solve(prior[~held][:, ~held], prior[~held][:, held])
        residual = torch.zeros(24, dtype=torch.float64)
        residual[rays[held]] = draw[held] - gain.mT @ draw[~held]
        factors.append(temperature(linear(), found(residual.reshape(1, 3, 8)), right, HOLDOUT))
    n_held = int(held.sum())
    assert abs(sum(factors) / len(factors) - 1) < 5 * (2 / (n_held * len(factors))) ** 0.5
    # Two more rays, as expected, are counted in.
    twice = temperature(linear(), found(2 * residual.reshape(1, 3, 8)), right, HOLDOUT)
    assert (n_held + 2) * twice - 2 == pytest.approx(4 * ((n_held + 2) * factors[-1] - 2))


def test_views_conditioned_on_are_spread_and_at_most_so_many() -> None:
    fitted = torch.ones(10, 4, dtype=torch.bool)
    fitted[3] = False
    holdout = Holdout(~fitted[None], torch.zeros_like(fitted))
    kept = conditioned_on(holdout, 13).reshape(10, 4)
    assert torch.nonzero(kept.any(dim=1))[:, 0].tolist() == [0, 5, 9]
    assert torch.equal(conditioned_on(holdout, 100), fitted.reshape(-1))
    assert int(conditioned_on(holdout, 1).sum()) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fitted_share": -0.1}, "fitted_share must be from 0 to 1"),
        ({"method": "guess"}, "method must be one of .*, got 'guess'"),
        ({"tv_strength": 0.0}, "tv_strength must be positive, got 0"),
        ({"n_draws": 1}, "n_draws must be at least 2"),
        ({"max_rays": 0}, "max_rays must be at least 1"),
        ({"max_evaluations": 0}, "max_evaluations must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(EvidenceSettings(), **changes)


def test_temperature_counts_the_rays_of_every_member() -> None:
    right = Learned(variances(linear()), 0.0, 0, converged=True)
    holdout = hold_out((3, 8), 0.15, n_members=2, generator=generator())
    residual = torch.where(holdout.chooses, randn(2, 3, 8, seed=3), 0.0)
    both = temperature(linear(), found(residual), right, holdout)
    n_held = int(holdout.chooses[0].sum())
    alone = []
    for member in range(2):
        # The other member's rays are fitted by this one.
        one = Holdout(holdout.chooses[member : member + 1], holdout.judges)
        alone.append((n_held + 2) * temperature(linear(), found(residual[member : member + 1]), right, one) - 2)
    assert both == pytest.approx((sum(alone) + 2) / (2 * n_held + 2))


def test_of_a_volumes_rays_some_of_every_view_are_learned_from() -> None:
    chooses, judges = torch.zeros(2, 8, 5, 6, dtype=torch.bool)
    chooses[2], judges[5] = True, True
    rays = learned_from(Holdout(chooses[None], judges), 60)
    views = torch.bincount(rays // 30, minlength=8)
    assert len(rays) == 90
    assert views[2] == 30
    assert views[5] == 0
    assert views[[0, 1, 3, 4, 6, 7]].tolist() == [12, 6, 12, 12, 6, 12]  # rows of six


def test_evenly_spread_keeps_all_where_there_are_few() -> None:
    rays = torch.tensor([[True], [False], [True], [True]])
    assert evenly_spread(rays, 5).equal(rays.reshape(-1))
    assert evenly_spread(rays, 2).tolist() == [True, False, False, True]


def test_detector_rows_are_kept_whole_for_what_is_smooth_along_them() -> None:
    rays = torch.rand(20, 30, 40, generator=torch.Generator().manual_seed(0)) < 0.5
    kept = evenly_spread(rays, 1000).reshape(rays.shape)
    rows = kept.any(dim=2)
    assert kept[rows].equal(rays[rows])
    assert 900 < int(kept.sum()) < 1100
    assert 40 < int(rows.sum()) < 60
