"""Put the figures of results/*.json into the tables of README.md and docs/: python -m tests.benchmarks.readme_tables.

A table stands between the comment <!-- figures: NAME --> and the next empty line but one.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks import small_experiment_tables
from tests.benchmarks.environment import results
from tests.benchmarks.joint_likelihood import constant_log_likelihood

ROOT = Path(__file__).parents[2]
SCANS = {"ta": "HTC 2022 ta", "tb": "HTC 2022 tb", "lotus": "lotus"}
SAMPLERS = {
    "dense": "dense",
    "cholesky": "Cholesky",
    "cg": "cg",
    "sgd": "sgd",
    "sdd": "sdd",
    "cg without": "cg, no preconditioner",
    "sgd without": "sgd, no preconditioner",
    "sdd without": "sdd, no preconditioner",
}
ANGLES, NOISE_PERCENT = (5, 10, 20, 30), (5, 10)


def _header(*columns: str) -> str:
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"


def real() -> list[str]:
    """One row a scan: means over seeds, and the smallest to the largest."""
    rows = [
        _header(
            "scan",
            "views",
            "correlation: ctuq / FBP / CGLS",
            "chi-square per ray",
            "coverage 95 % of test rays",
            "of pixels",
            "counting the reference's noise",
            "rms z of pixels",
            "seconds",
        )
    ]
    for name, title in SCANS.items():
        scan = results("real")["scans"][name]
        mean, seeds = scan["mean"], scan["seeds"]
        seconds = results("real_seconds")["scans"][name]["seconds"]  # two threads, nothing beside

        def spread(key: str, scale: float, digits: int, seeds: list[dict[str, float]] = seeds) -> str:
            values = [scale * seed[key] for seed in seeds]
            mean = sum(values) / len(values)
            return f"{mean:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"

        rows.append(
            f"| {title} | {scan['views']} | {mean['correlation']:.4f} / {scan['correlation_fbp']:.4f} / "
            f"{scan['correlation_cgls_15']:.4f} | {spread('chi_square_per_ray', 1, 2)} | "
            f"{spread('coverage_95', 100, 1)} % | {spread('image_coverage_95', 100, 1)} % | "
            f"{100 * mean['image_coverage_95_with_reference_noise']:.1f} % | {mean['image_rms_z']:.2f} | "
            f"{seconds:.0f} |"
        )
    return rows


def real_in_short() -> list[str]:
    """One row a scan, means over seeds: what README.md has room for."""
    header = ("coverage 95 % of test rays", "of pixels", "rms z of pixels", "seconds")
    rows = [_header("scan", "views", "correlation: ctuq / FBP", "chi-square per ray", *header)]
    for name, title in SCANS.items():
        scan = results("real")["scans"][name]
        mean, seconds = scan["mean"], results("real_seconds")["scans"][name]["seconds"]
        figures = [
            f"{mean['correlation']:.4f} / {scan['correlation_fbp']:.4f}",
            f"{mean['chi_square_per_ray']:.2f}",
            f"{100 * mean['coverage_95']:.1f} %",
            f"{100 * mean['image_coverage_95']:.1f} %",
            f"{mean['image_rms_z']:.2f}",
            f"{seconds:.0f}",
        ]
        rows.append(f"| {title} | {scan['views']} | {' | '.join(figures)} |")
    return rows


def kmnist() -> list[str]:
    """One row a setting, means over its images."""
    rows = [
        _header(
            "angles, noise",
            "images",
            "PSNR (dB)",
            "rms z",
            "coverage 50 / 90 / 95 %",
            "joint log-likelihood a pixel",
            "rank correlation",
            "chi-square of test rays",
        )
    ]
    for angles in ANGLES:
        for percent in NOISE_PERCENT:
            found = results(f"kmnist_{angles}_{percent}")
            m = found["mean"]
            coverage = " / ".join(f"{100 * m[f'coverage_{level}']:.1f}" for level in (50, 90, 95))
            rows.append(
                f"| {angles}, {percent} % | {len(found['images'])} | {m['psnr_db']:.2f} | {m['rms_z']:.2f} | "
                f"{coverage} | {m['joint_log_likelihood']:.2f} | {m['rank_correlation']:.2f} | "
                f"{m['held_out_chi_square']:.2f} |"
            )
    return rows


def samplers() -> list[str]:
    """One row a sampler; the problems side by side in every cell."""
    cases = results("samplers")["cases"].values()

    def cell(sampler: str, key: str, form: str) -> str:
        rows = [case["samplers"][sampler] for case in cases]
        return " / ".join(form.format(row[key]) if key in row else "–" for row in rows)

    return [
        _header("sampler", "passes a draw", "worst residual", "rms z", "largest z", "off", "seconds: set-up", "a draw"),
        *(
            f"| {title} | {cell(name, 'passes_a_draw', '{:,}')} | {cell(name, 'worst_residual', '{:.2g}')} | "
            f"{cell(name, 'rms_z', '{:.2f}')} | {cell(name, 'largest_z', '{:.1f}')} | {cell(name, 'off', '{:.2g}')} | "
            f"{cell(name, 'set_up_seconds', '{:.2g}')} | {cell(name, 'seconds_a_draw', '{:.2g}')} |"
            for name, title in SAMPLERS.items()
        ),
    ]


Row = dict[str, Any]


def _settings() -> Iterator[tuple[str, list[dict[str, float]], Row, Row | None]]:
    """Of every setting its title, ctuq's images that the others were given too, the others, published fit if run."""
    others = {(row["angles"], row["noise"]): row for row in results("baselines")["settings"]}
    published = {(row["angles"], row["noise"]): row for row in results("published_fit")["settings"]}
    for angles in ANGLES:
        for percent in NOISE_PERCENT:
            setting = angles, percent / 100
            (n_images,) = {len(found["images"]) for found in others[setting].values() if isinstance(found, dict)}
            ours = results(f"kmnist_{angles}_{percent}")["images"][:n_images]
            yield f"{angles}, {percent} %", ours, others[setting], published.get(setting)


def _figure(others: Row, method: str, *keys: str) -> str:
    """The largest of a method's means, or a dash where it was not run."""
    return f"{max(others[method]['mean'][key] for key in keys):.2f}" if method in others else "–"


def likelihoods() -> list[str]:
    """One row a setting: joint log-likelihoods of ctuq and of other methods, as they are, tuned, and with the truth."""
    floor = results("baselines")["floor"]
    header = ["MC dropout", "five fits", "MC dropout †", "five fits †", "constant *", "MC dropout *", "five fits *"]
    rows = [_header("angles, noise", "ctuq", "Matérn field", *header)]
    for title, ours, others, _ in _settings():
        constant = statistics.fmean(constant_log_likelihood(image["psnr_db"], floor=floor) for image in ours)
        plain, tuned, best = (
            [
                _figure(others, method, f"{kind}joint_log_likelihood", f"{kind}diagonal_log_likelihood")
                for method in ("mc_dropout", "ensemble")
            ]
            for kind in ("", "tuned_", "best_")
        )
        figures = [
            f"{statistics.fmean(image['joint_log_likelihood'] for image in ours):.2f}",
            _figure(others, "matern", "joint_log_likelihood"),
            *plain,
            *tuned,
            f"{constant:.2f}",
            *best,
        ]
        rows.append(f"| {title} | {' | '.join(figures)} |")
    return rows


def images() -> list[str]:
    """One row a setting: PSNR of ctuq and of other methods, and what the published schedule takes."""
    header = ("ctuq", "five fits", "MC dropout", "Matérn field", "published schedule", "its steps", "its seconds")
    rows = [_header("angles, noise", *header)]
    for title, ours, others, published in _settings():
        figures = [
            f"{statistics.fmean(image['psnr_db'] for image in ours):.2f}",
            *(_figure(others, method, "psnr_db") for method in ("ensemble", "mc_dropout", "matern")),
        ]
        rows.append(f"| {title} | {' | '.join(figures)} | {_fit(published)} |")
    return rows


def _fit(published: dict[str, Any] | None) -> str:
    if published is None:
        return "– | – | –"
    mean = published["mean"]
    return f"{mean['psnr_db']:.2f} | {published['steps']:,} | {mean['seconds']:.0f}"


def counts_noise() -> list[str]:
    """One row a number of photons: mean square of the whitened residual, by scan, of ctuq and of the naive way."""
    found = results("counts_noise")
    scans = [name for name in found if name not in ("environment", "settings")]
    rows = [_header("photons before the object", *(f"{name}: ctuq / naive" for name in scans))]
    for photons in found[scans[0]]:
        figures = []
        for scan in scans:
            row = found[scan][photons]
            error = round(1e3 * row["ctuq_variance_standard_error"])
            figures.append(f"{row['ctuq_variance']:.3f} ({error}) / {row['naive_variance']:.3f}")
        rows.append(f"| {int(photons):,} | {' | '.join(figures)} |")
    return rows


def counts_calibration() -> list[str]:
    """One row an image: rms z with the variance of every ray, and with one for all."""
    found = results("counts_calibration")
    names = ("rms_z", "coverage_95", "chi_square_per_ray", "psnr_db")
    titles = ("rms z", "coverage 95 % of pixels", "chi-square per ray", "PSNR (dB)")
    rows = [_header("image", *(f"{title}: per ray / one" for title in titles))]
    pairs = list(zip(found["images"], found["each"]["per_ray"], found["each"]["homoscedastic"], strict=True))
    for (kind, number), *models in [*pairs, (("mean", ""), *(found["mean"][m] for m in ("per_ray", "homoscedastic")))]:
        figures = [" / ".join(f"{model[name]:.3g}" for model in models) for name in names]
        rows.append(f"| {f'{kind} {number}'.strip()} | {' | '.join(figures)} |")
    return rows


def rectangles() -> list[str]:
    """One row an image: views that reach the PSNR of 20, and of 30, equidistant ones, by design; and the means."""
    found = results("rectangles_128")
    designs = {"planned": "planned", "matern": "Matérn field"}
    columns = [(target, name) for target in found["summary"] for name in designs]
    rows = [_header("image", *(f"{designs[name]}: PSNR of {n} equidistant with" for n, name in columns))]
    for index, row in found["images"].items():
        views = [found["summary"][n][name]["views"].get(index) for n, name in columns]
        most = max(map(int, row["equidistant"]["psnr_db"]))
        cells = ["–" if n is None else f"over {most}" if n > most else f"{n:.1f}" for n in views]
        rows.append(f"| {index} | {' | '.join(cells)} |")
    shares = []
    for target, name in columns:
        saved = found["summary"][target][name]["saved"]
        mean, low, high = (round(100 * saved[key]) for key in ("mean", "low", "high"))
        shares.append(f"{mean} % fewer ({low} to {high})")
    return [*rows, f"| mean, 95 % interval | {' | '.join(shares)} |"]


def replays() -> list[str]:
    """One row a scan, seed and order: PSNR by the number of views."""
    curves = results("replay_real_128")["curves"]
    points = list(results("replay_real_128")["summary"]["ta"]["views"])
    rows = [_header("scan, seed", "order", *(f"{n} views" for n in points))]
    for name, seeds in curves.items():
        for seed, orders in seeds.items():
            for order, curve in orders.items() if "planned" in orders else ():
                cells = [f"{curve['psnr_db'][n]:.2f}" for n in points]
                rows.append(f"| {name}, {seed} | {order} | {' | '.join(cells)} |")
    return rows


def speed() -> list[str]:
    """One row a kernel: times faster than ASTRA's projector on the CPU, by threads."""
    ratio = results("projection_speed")["ratio"]
    rows = [_header("kernel", "threads", "times faster per image")]
    for kernel in ("strip", "line"):
        found = {name.split(", ")[1].split()[0]: times for name, times in ratio.items() if name.startswith(kernel)}
        rows.append(f"| {kernel} | {' / '.join(found)} | {' / '.join(f'{times:.0f}' for times in found.values())} |")
    return rows


def pages() -> dict[str, dict[str, list[str]]]:
    """Tables by name, by the page that they stand on."""
    return {
        "README.md": {"real_in_short": real_in_short()},
        "docs/benchmarks.md": {
            "real": real(),
            "kmnist": kmnist(),
            "likelihoods": likelihoods(),
            "images": images(),
            "speed": speed(),
            "samplers": samplers(),
            "counts_noise": counts_noise(),
            "counts_calibration": counts_calibration(),
            "rectangles": rectangles(),
            "replays": replays(),
        },
        "docs/small_experiments.md": small_experiment_tables.tables(),
    }


def filled(text: str, tables: dict[str, list[str]], page: str) -> str:
    """A page with its tables in place.

    Raises:
        ValueError: a table's comment is not there once.
    """
    for name, rows in tables.items():
        marker = f"<!-- figures: {name} -->\n\n"
        table = "\n".join(rows)
        text, n = re.subn(rf"{re.escape(marker)}(\|.*\n)+", lambda _, m=marker, t=table: f"{m}{t}\n", text)  # type: ignore[misc]
        if n != 1:
            raise ValueError(f"expected one table after {marker.strip()} in {page}, got {n}")
    return text


def main() -> None:
    """Rewrite the pages."""
    for name, tables in pages().items():
        page = ROOT / name
        page.write_text(filled(page.read_text(encoding="utf-8"), tables, name), encoding="utf-8")


if __name__ == "__main__":
    main()
