"""The tables of docs/small_experiments.md, which `readme_tables` writes; one without results has a row that says so."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tests.benchmarks.environment import RESULTS, results

KINDS = ("isotropic", "layer", "block", "g-prior")
Figures = dict[str, Any]


def _table(name: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Of the results of that name; the rows are made only where there are any."""
    found = rows if (RESULTS / f"{name}.json").exists() else [["not run yet"] + ["–"] * (len(columns) - 1)]
    lines = [f"| {' | '.join(row)} |" for row in found]
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *lines]


def _mean(rows: Iterable[Figures], key: str, form: str) -> str:
    return form.format(statistics.fmean(row[key] for row in rows))


def digits() -> list[str]:
    """One row a method, means over seeds."""

    def rows() -> Iterator[list[str]]:
        keys = {
            "accuracy": "{:.3f}",
            "nll": "{:.3f}",
            "ece": "{:.3f}",
            "auroc_turned": "{:.2f}",
            "auroc_letters": "{:.2f}",
        }
        for method, row in results("digits_laplace")["mean"].items():
            yield [method, *(form.format(row[key]) for key, form in keys.items())]

    columns = ("method", "accuracy", "NLL (nats)", "ECE", "AUROC, turned digits", "AUROC, letters")
    return _table("digits_laplace", columns, rows())


def lenet() -> list[str]:
    """One row a network and method, means over seeds."""

    def rows() -> Iterator[list[str]]:
        seeds = results("lenet_evidence")["seeds"]
        for network in ("without", "with"):
            for method in seeds[0][network]:
                found = [seed[network][method] for seed in seeds]
                yield [
                    network,
                    method,
                    *(_mean(found, key, "{:.3f}") for key in ("accuracy", "nll", "ece")),
                    *(_mean(found, key, "{:.2g}") if key in found[0] else "–" for key in ("shrunk_nll", "shift")),
                    *(_mean(found, key, "{:,.0f}") if key in found[0] else "–" for key in ("passes", "seconds")),
                ]

    columns = ("normalisation", "method", "accuracy", "NLL", "ECE", "NLL, rescaled", "shift", "products", "seconds")
    return _table("lenet_evidence", columns, rows())


def evidence() -> list[str]:
    """One row a network and prior: EM against the exact evidence, means over seeds."""

    def rows() -> Iterator[list[str]]:
        seeds = results("lenet_evidence")["seeds"]
        for network in ("without", "with"):
            for kind in KINDS:
                found = [seed[network][kind]["evidence"] for seed in seeds]
                missing = [row["exact"] - row["em"] for row in found]
                figures = [_mean(found, key, "{:.1f}") for key in ("exact", "em", "exact_seconds", "em_seconds")]
                yield [network, kind, *figures[:2], f"{max(missing):.2f}", *figures[2:]]

    columns = (
        "normalisation",
        "prior",
        "exact (nats)",
        "EM (nats)",
        "largest shortfall (nats)",
        "exact: seconds",
        "EM: seconds",
    )
    return _table("lenet_evidence", columns, rows())


def em() -> list[str]:
    """One row a setting: what is missing, network by network, as one may have two maxima; the others are means."""

    def rows() -> Iterator[list[str]]:
        seeds = results("em_sensitivity")["seeds"]
        for name in ("plain", "exact"):
            yield [name, "", "–", *(_mean([s[name] for s in seeds], key, "{:.3g}") for key in ("nll", "ece")), "–", "–"]
        for curve in ("start", "learning_rate", "as_it_was_left", "draws", "tolerance"):
            for value in seeds[0][curve]:
                found = [seed[curve][value] for seed in seeds]
                ran_off = any(row["gap"] is None for row in found)
                yield [
                    curve.replace("_", " "),
                    value,
                    " / ".join("ran off" if row["gap"] is None else f"{row['gap']:.2f}" for row in found),
                    *("–" if ran_off else _mean(found, key, "{:.3g}") for key in ("nll", "ece")),
                    _mean(found, "iterations", "{:.0f}"),
                    f"{sum(row['converged'] for row in found)} of {len(found)}",
                ]

    columns = ("varied", "value", "missing evidence (nats)", "NLL", "ECE", "iterations", "converged")
    return _table("em_sensitivity", columns, rows())


def digits_evidence() -> list[str]:
    """One row a prediction, means over splits."""

    def rows() -> Iterator[list[str]]:
        found = [seed["validation"] for seed in results("digits_evidence")["seeds"]]
        for method in found[0]:
            chosen = [row[method] for row in found]
            yield [method, *(_mean(chosen, key, "{:.3f}") for key in ("accuracy", "nll", "ece"))]

    return _table("digits_evidence", ("prediction", "accuracy", "NLL (nats)", "ECE"), rows())


def processes() -> list[str]:
    """One row a data set and method."""

    def rows() -> Iterator[list[str]]:
        for name, found in results("gp_sampling").items():
            if name == "environment":
                continue
            for method, row in found["methods"].items():
                residual = row.get("worst_residual")
                yield [
                    f"{name}, {found['points']:,} points",
                    method,
                    f"{row['rmse']:.4g}",
                    f"{row['nll']:.3f}",
                    *(f"{row[key]:.2g}" if key in row else "–" for key in ("off", "spread")),
                    "–" if residual is None else f"{residual:.2g}",
                    f"{row['seconds']:.3g}",
                ]

    columns = ("data", "method", "RMSE", "NLL", "off", "spread", "worst residual", "seconds")
    return _table("gp_sampling", columns, rows())


def depth(case: str) -> list[str]:
    """One row a depth, means over runs: errors by factor, and the largest and smallest of any layer."""

    def rows() -> Iterator[list[str]]:
        for depth, runs in results(f"linearisation_depth_{case}").items():
            if depth == "environment":
                continue
            layers = {name: statistics.fmean(run["layer"][name]["error"] for run in runs) for name in runs[0]["layer"]}
            worst, best = max(layers, key=lambda name: layers[name]), min(layers, key=lambda name: layers[name])
            yield [
                depth,
                _mean(runs, "size", "{:.1f}"),
                *(_mean([run["factor"][factor] for run in runs], "error", "{:.2g}") for factor in factors),
                *(_mean([run["factor"][factor] for run in runs], "spread", "{:.2f}") for factor in ("0.01", "1")),
                f"{worst}: {layers[worst]:.2f}",
                f"{best}: {layers[best]:.2f}",
            ]

    factors = ("1e-06", "0.0001", "0.01", "0.1", "0.3", "1", "3")
    columns = (
        "depth",
        "size",
        *(f"error at {float(factor):g}" for factor in factors),
        *(f"spread at {factor}" for factor in ("0.01", "1")),
        "worst layer",
        "best layer",
    )
    return _table(f"linearisation_depth_{case}", columns, rows())


def scans() -> list[str]:
    """One row a real scan, means over seeds: the same error, and whether the bars were right all the same."""

    def rows() -> Iterator[list[str]]:
        for name, found in results("real")["scans"].items():
            mean = found["mean"]
            keys = ("linearisation_error", "chi_square_per_ray", "image_rms_z")
            yield [name, *(f"{mean[key]:.2f}" for key in keys), f"{100 * mean['image_coverage_95']:.1f} %"]

    columns = ("scan", "error", "chi-square per test ray", "rms z of pixels", "coverage 95 % of pixels")
    return _table("real", columns, rows())


def resnet() -> list[str]:
    """One row a run."""

    def rows() -> Iterator[list[str]]:
        found = results("resnet_passes")
        yield [
            found["device"],
            f"{found['weights']:,}",
            str(found["inputs"]),
            f"{found['forward_seconds']:.2g}",
            f"{found['jvp_per_second']:.2g}",
            f"{found['vjp_per_second']:.2g}",
            f"{found['peak_gib']:.2f}",
            f"{found['em_passes']} in {found['em_seconds']:.0f} s",
        ]

    columns = (
        "device",
        "weights",
        "images",
        "forward (s)",
        "JVPs a second",
        "VJPs a second",
        "peak (GiB)",
        "EM's passes",
    )
    return _table("resnet_passes", columns, rows())


def tables() -> dict[str, list[str]]:
    """By name."""
    return {
        "digits": digits(),
        "digits_evidence": digits_evidence(),
        "lenet": lenet(),
        "evidence": evidence(),
        "em": em(),
        "processes": processes(),
        "depth_digits": depth("digits"),
        "depth_kmnist": depth("kmnist"),
        "depth_scans": scans(),
        "resnet": resnet(),
    }
