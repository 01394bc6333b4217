"""The sentences of docs/small_experiments.md with figures from results/*.json, for `sentences`."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from tests.benchmarks.environment import results


def small_experiments() -> list[str]:
    """What must stand on the page word for word, line breaks aside."""
    return [*_digits_evidence(), *_lenet(), *_em(), *_depth(), *_processes(), *_resnet()]


def _span(values: Iterable[float], form: str) -> str:
    found = sorted(values)
    return f"{found[0]:{form}} to {found[-1]:{form}}"


def _digits_evidence() -> list[str]:
    seeds = results("digits_evidence")["seeds"]
    zero, loss = (
        {key: _span((s[part][key] for s in seeds), ",.0f") for key in seeds[0][part]} for part in ("zero", "loss")
    )
    nll = {name: fmean(s["validation"][name]["nll"] for s in seeds) for name in seeds[0]["validation"]}
    return [
        f"loses {zero['expanded']} nats of log-likelihood, where it truly loses {zero['true']}",
        f"a variance of {_span((s['variance'] for s in seeds), '.2f')} in all three splits",
        f"should lose {loss['quadratic']} nats of the training labels in the mean; they lose {loss['laplace']}",
        f"Carlo) {loss['exact']}",
        f"Laplace's NLL is {nll['laplace about mode']:.3f} and that of the exact posterior {nll['exact']:.3f}",
    ]


def _depth() -> list[str]:
    def means(case: str, factor: str, key: str) -> dict[str, float]:
        runs = {
            depth: found for depth, found in results(f"linearisation_depth_{case}").items() if depth != "environment"
        }
        return {depth: fmean(run["factor"][factor][key] for run in found) for depth, found in runs.items()}

    tiny, small = ({k: 100 * v for k, v in means("kmnist", t, "error").items()} for t in ("1e-06", "0.0001"))
    perceptrons, spread = max(means("digits", "0.0001", "error").values()), means("kmnist", "1", "spread")
    alone = fmean(run["size"] for run in results("linearisation_depth_kmnist")["1"])
    for found in (tiny, small, spread):
        del found["1"]
    return [
        f"miss {_span(tiny.values(), '.0f')} %",
        f"they miss {_span(small.values(), '.0f')} %, where perceptrons miss {100 * perceptrons:.2f} % at most",
        f"scatter {_span(spread.values(), '.1f')} times as",
        f"draws of {alone:.0f} times the weights",
    ]


def _lenet() -> list[str]:
    seeds = results("lenet_evidence")["seeds"]
    kinds = ("isotropic", "layer", "block", "g-prior")

    def mean(network: str, method: str, key: str) -> float:
        return fmean(seed[network][method][key] for seed in seeds)

    compared = [seed[network][kind]["evidence"] for seed in seeds for network in ("without", "with") for kind in kinds]
    shortfall = max(row["exact"] - row["em"] for row in compared)
    share = max((row["exact"] - row["em"]) / abs(row["exact"]) for row in compared)
    assert share < 0.02
    passes = [mean(network, kind, "passes") for network in ("without", "with") for kind in kinds]
    return [
        f"moves the predicted probabilities by {mean('with', 'isotropic', 'shift'):.3f}",
        f"by {max(mean('with', kind, 'shift') for kind in kinds[1:]):.4f} at most",
        f"within {shortfall:.2f} nats, or {100 * share:.2f} %, of the best that an exact search finds",
        f"{_span(passes, ',.0f')} products",
    ]


def _em() -> list[str]:
    seeds = results("em_sensitivity")["seeds"]

    def largest(curve: str, *values: str) -> float:
        chosen = values or tuple(seeds[0][curve])
        return max(abs(float(seed[curve][value]["gap"])) for seed in seeds for value in chosen)

    def mean(curve: str, value: str, key: str) -> float:
        return fmean(seed[curve][value][key] for seed in seeds)

    return [
        f"within {largest('start'):.2f} nats of the maximum",
        (
            f"{largest('draws', '2'):.2f} nats with 2 draws, {largest('draws', '16'):.2f} with 16 and "
            f"{largest('draws', '64'):.2f} with 64"
        ),
        f"{largest('tolerance', '0.01'):.2f} nats after {mean('tolerance', '0.01', 'iterations'):.0f} iterations",
        f"{largest('tolerance', '0.1'):.2f} after {mean('tolerance', '0.1', 'iterations'):.0f}",
    ]


def _processes() -> list[str]:
    found = [row["methods"] for name, row in results("gp_sampling").items() if name.startswith("matern")]

    def each(method: str, key: str) -> str:
        *first, last = (f"{row[method][key]:.2g}" for row in found if method in row)
        return f"{', '.join(first)} and {last}"

    return [
        f"Cholesky takes {_span((row['exact']['seconds'] for row in found), '.0f')} s",
        f"the mean is off by {each('cg', 'off')} posterior deviations",
        f"leave residuals of {each('cg', 'worst_residual')} where",
        f"longer and is off by {each('sgd', 'off')}",
        f"100 sweeps, off by {each('sdd', 'off')}",
        f"is off by {each('gpytorch', 'off')}, in {_span((row['gpytorch']['seconds'] for row in found), '.0f')} s",
    ]


def _resnet() -> list[str]:
    found = results("resnet_passes")
    jvp, vjp = (1 / (found[f"{key}_per_second"] * found["forward_seconds"]) for key in ("jvp", "vjp"))
    return [
        f"a product with J costs as much as {jvp:.0f} forward passes, one with its transpose {vjp:.0f}",
        f"{found['em_passes']} products in {found['em_seconds']:.0f} s, and {found['peak_gib_em']:.1f} GiB",
    ]
