"""The parts of the small experiments are what they are said to be, and laplace-torch agrees with our posterior."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dip import NetworkJacobian, PriorKind, gram_matrices, weight_groups
from dip.layers import weighted
from operators.testing import assert_linear_map
from tests.benchmarks import gp_sampling
from tests.benchmarks.classification_scores import auroc, class_scores, entropy
from tests.benchmarks.classifiers import Dropout, LeNet, initialised, perceptron, resnet18, train
from tests.benchmarks.em_sensitivity import gradient_solve
from tests.benchmarks.gp_sampling import Selection
from tests.benchmarks.lenet_evidence import by_em, groups_of, shrunk, starts
from tests.benchmarks.linear_classifier import LinearClassifier
from tests.benchmarks.softmax_likelihood import UNIT, ClassifierModel, SoftmaxRoot, label_residual, predicted, rows_of
from tests.dip.dense import dense, generator, randn

N, CLASSES = 12, 4
LABELS = torch.arange(N) % CLASSES


def small() -> tuple[nn.Module, Tensor]:
    network = perceptron(6, hidden=5, depth=2, n_classes=CLASSES).double()
    return initialised(network, generator=generator(1)), randn(N, 6, seed=2)


def jacobian_by_torch(network: nn.Module, inputs: Tensor) -> Tensor:
    weights = {name: value.detach() for name, value in network.named_parameters()}
    found = torch.func.jacrev(lambda w: torch.func.functional_call(network, w, inputs))(weights)
    return torch.cat([part.reshape(len(inputs) * CLASSES, -1) for part in found.values()], dim=1)


def test_the_likelihoods_map_is_a_root_of_the_softmax_hessian() -> None:
    logits = 3 * randn(2, CLASSES, seed=3)
    root = dense(SoftmaxRoot(logits)).mT
    for i, p in enumerate(torch.softmax(logits, dim=-1)):
        where = slice(i * CLASSES, (i + 1) * CLASSES)
        torch.testing.assert_close(root[where, where] @ root[where, where].mT, p.diag() - torch.outer(p, p))
    residual = label_residual(logits, torch.tensor([1, 3]))
    torch.testing.assert_close(
        root @ residual, (nn.functional.one_hot(torch.tensor([1, 3]), CLASSES) - torch.softmax(logits, -1)).flatten()
    )
    back = SoftmaxRoot(logits).adjoint(torch.eye(2 * CLASSES, dtype=torch.float64)).flatten(1)
    torch.testing.assert_close(back, root.mT)


def test_rows_input_by_input_are_the_whole_jacobian() -> None:
    network, inputs = small()
    expected = jacobian_by_torch(network, inputs)
    torch.testing.assert_close(rows_of(network, inputs, whitened=False), expected)
    logits = network(inputs).detach()
    torch.testing.assert_close(rows_of(network, inputs, whitened=True), dense(SoftmaxRoot(logits)) @ expected)


def test_compressed_rays_have_the_same_evidence_and_posterior() -> None:
    network, inputs = small()
    jacobian = NetworkJacobian(network, inputs)
    groups = weight_groups(jacobian, "layer", sensitivity=torch.ones(jacobian.in_shape))
    thin = ClassifierModel(randn(200, *jacobian.in_shape, seed=4), randn(200, seed=5))
    variances = dict(zip(groups, (0.3, 2.0, 0.7), strict=True)) | {"noise": 1.0}
    assert len(thin.compressed().data) == len(jacobian.weights())
    assert thin.compressed().evidence(groups, variances) == pytest.approx(thin.evidence(groups, variances))
    covariances = [m.posterior(groups, variances, jacobian.weights()).covariance() for m in (thin, thin.compressed())]
    torch.testing.assert_close(*covariances)
    factor = thin.latent_rays(groups).factor(variances)
    exact = thin.covariance(groups).matrix(variances)
    torch.testing.assert_close(dense(factor) @ dense(factor).mT + torch.eye(200), exact, check_dtype=False)
    assert UNIT.variance == 1


@pytest.mark.parametrize("variance", [0.05, 1.0])
def test_the_posterior_of_laplace_torch_is_ours(variance: float) -> None:
    """An independent library, on the same network: full GGN posterior to 1e-4 of its largest entry."""
    try:
        from laplace import Laplace  # noqa: PLC0415 (an extra)
    except (ImportError, RuntimeError) as error:  # the latter from a torchvision of another torch
        pytest.skip(f"laplace-torch is not usable here: {error}")
    from torch.utils.data import DataLoader, TensorDataset  # noqa: PLC0415

    network, inputs = small()
    jacobian = NetworkJacobian(network, inputs)
    groups = weight_groups(jacobian, "isotropic", sensitivity=torch.ones(jacobian.in_shape))
    model = ClassifierModel.of(network, inputs, LABELS)
    ours = model.posterior(groups, {"all": variance, "noise": 1.0}, jacobian.weights()).covariance()
    other = Laplace(
        network, "classification", subset_of_weights="all", hessian_structure="full", prior_precision=1 / variance
    )
    other.fit(DataLoader(TensorDataset(inputs, LABELS), batch_size=5))
    torch.testing.assert_close(ours, other.posterior_covariance, rtol=1e-4, atol=1e-4 * float(ours.abs().max()))
    assert float((ours - variance * torch.eye(len(ours))).abs().max()) > 1e-3 * variance  # the labels do say something


def test_a_likelihood_expanded_at_its_mode_has_the_posterior_there() -> None:
    network, inputs = small()
    linear = LinearClassifier.of(network, inputs, LABELS)
    own, again = ClassifierModel.of(network, inputs, LABELS), linear.expanded(linear.network_weights)
    torch.testing.assert_close((again.rows, again.data), (own.rows, own.data))
    weights = linear.mode(torch.full_like(linear.network_weights, 0.7), linear.network_weights).weights
    slope = torch.func.grad(linear.loss)(weights)
    torch.testing.assert_close(linear.slope(weights), slope)
    torch.testing.assert_close(slope, -weights / 0.7**2, atol=1e-4, rtol=0)
    expanded = linear.expanded(weights)
    covariance = 0.7**2 * expanded.rows @ expanded.rows.mT + torch.eye(len(expanded.data))
    mean = 0.7**2 * expanded.rows.mT @ torch.linalg.solve(covariance, expanded.data)
    torch.testing.assert_close(mean, weights, atol=1e-4, rtol=0)


def test_predictions_without_a_step_are_the_networks() -> None:
    network, inputs = small()
    steps = torch.zeros(3, *NetworkJacobian(network, inputs).in_shape, dtype=torch.float64)
    torch.testing.assert_close(predicted(network, inputs, steps), torch.softmax(network(inputs).detach(), dim=-1))


def test_scores_of_classes() -> None:
    labels = torch.tensor([0, 1, 1, 0])
    sure = nn.functional.one_hot(torch.tensor([0, 1, 0, 0]), 2).double()
    scores = class_scores(0.9 * sure + 0.05, labels)
    assert scores.accuracy == 0.75
    assert scores.ece == pytest.approx(0.2)
    assert scores.nll == pytest.approx(-(3 * math.log(0.95) + math.log(0.05)) / 4)
    assert entropy(torch.full((1, 4), 0.25))[0] == pytest.approx(math.log(4))
    assert auroc(torch.tensor([1.0, 2.0]), torch.tensor([1.5, 3.0])) == 0.75


@pytest.mark.parametrize("shape", [(400, 50), (100, 200, 2, 2)])
def test_dropout_keeps_the_mean_and_drops_whole_features(shape: tuple[int, ...]) -> None:
    dropped = Dropout(0.2, generator=generator())(nn.Identity(), (), torch.ones(shape))
    assert float((dropped == 0).double().mean()) == pytest.approx(0.2, abs=0.02)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)
    features = dropped.flatten(2) if len(shape) > 2 else dropped[..., None]
    assert bool((features == features[..., :1]).all())


def test_networks_have_the_sizes_they_are_said_to_have() -> None:
    assert sum(p.numel() for p in LeNet(norm=False).parameters()) == 3_870
    assert sum(p.numel() for p in resnet18().parameters()) == 11_173_962 - 10  # torchvision's count, less the biases
    small_resnet = resnet18(channels=4).eval()
    assert NetworkJacobian(small_resnet, torch.randn(2, 3, 32, 32, generator=generator())).out_shape == (2, 10)


def test_normalisation_takes_the_scale_of_the_weights_away() -> None:
    inputs = torch.rand(2, 1, 28, 28, generator=generator())
    for norm in (False, True):
        network = initialised(LeNet(norm=norm), generator=generator())
        before = network(inputs)
        with torch.no_grad():
            next(iter(weighted(network).values())).weight.mul_(7)
        assert torch.allclose(network(inputs), before, atol=1e-4) == norm


def test_training_keeps_the_step_that_validation_liked_best() -> None:
    network, inputs = small()
    data = (inputs, LABELS)
    found = train(
        lambda: network, data, data, steps=200, batch=12, learning_rate=0.05, generator=generator(3), dropout=0.0
    )
    with torch.no_grad():
        assert float(nn.functional.cross_entropy(found(inputs), LABELS)) < 0.3


def test_gradient_descent_solves_what_conjugate_gradients_solve() -> None:
    network, inputs = small()
    jacobian = NetworkJacobian(network, inputs)
    groups = weight_groups(jacobian, "layer", sensitivity=torch.ones(jacobian.in_shape))
    model = ClassifierModel.of(network, inputs, LABELS)
    variances = dict.fromkeys(groups, 0.01) | {"noise": 1.0}
    solve = gradient_solve(model.latent_rays(groups), learning_rate=1.0, generator=generator())
    matrix = model.covariance(groups).matrix(variances)
    columns = randn(3, len(matrix), seed=6)
    solved = solve(variances, columns, torch.zeros_like(columns)).value
    torch.testing.assert_close(solved @ matrix, columns, atol=1e-3, rtol=0)


def test_em_finds_what_the_exact_evidence_says_of_a_classifier() -> None:
    network, inputs = small()
    groups = groups_of(NetworkJacobian(network, inputs), "layer", rows := rows_of(network, inputs, whitened=True))
    model = ClassifierModel(rows, 5 * randn(len(rows), seed=7))  # so much that all variances are wanted
    found, cost = by_em(model, groups, starts(model, groups), generator=generator())
    best = model.learn(groups, starts(model, groups))
    assert model.evidence(groups, found.variances) == pytest.approx(best.objective, rel=0.02)
    assert cost["passes"] > 2 * found.iterations


def test_rescaled_weights_of_a_normalised_network_are_the_same_to_all_priors_but_the_isotropic() -> None:
    inputs = torch.rand(4, 1, 28, 28, generator=generator(), dtype=torch.float64)
    network = initialised(LeNet(norm=True).double(), generator=generator())
    kinds: tuple[PriorKind, ...] = ("isotropic", "layer", "g-prior")
    gaps = {}
    for kind in kinds:
        grams = []
        for other in (network, shrunk(network)):
            rows = rows_of(other, inputs, whitened=True)
            groups = groups_of(NetworkJacobian(other, inputs[:1]), kind, rows)
            made = gram_matrices(rows, groups)
            # A variance a group is learned; what counts is what it can be multiplied to.
            grams.append(torch.stack([gram / gram.diagonal().mean() for gram in made.values()]))
        gaps[kind] = float((grams[0] - grams[1]).abs().max())
    assert gaps["isotropic"] > 0.1
    assert gaps["layer"] < 1e-3
    assert gaps["g-prior"] < 0.05  # the floor of its sensitivities follows the mean over all weights


def test_selected_values_are_a_linear_map() -> None:
    selection = Selection(torch.tensor([4, 0, 5]), (2, 3))
    assert_linear_map(selection, generator=generator())


@pytest.mark.parametrize("method", ["cg", "sgd", "sdd"])
def test_samplers_of_a_process_are_the_exact_ones(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gp_sampling, "SIDE", 16)
    monkeypatch.setattr(gp_sampling, "JUDGES", 20)
    problem = gp_sampling.matern_field(80, 0.05, seed=1)
    unit = torch.eye(80, dtype=torch.float64)
    rays = problem.rays()
    expected = problem.covariance(problem.seen, problem.seen) / 0.05
    torch.testing.assert_close(rays(rays.adjoint(unit)), expected, atol=1e-4, rtol=0)
    mean, variance = gp_sampling.exact(problem)
    own, spread, residual = gp_sampling.sampled(problem, gp_sampling.samplers(problem)[method], seed=2)
    assert residual < 0.05
    assert float(((own - mean) / variance.sqrt()).abs().max()) < 0.05
    assert float((spread / variance - 1).abs().max()) < 5 * math.sqrt(2 / gp_sampling.DRAWS)
