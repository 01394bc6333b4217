"""Sentences of README.md and docs/ with figures from results/*.json; a test says where a page has others.

What is here is checked, not written: sentences are changed by hand, in the page and here.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

from tests.benchmarks.environment import results
from tests.benchmarks.readme_tables import ANGLES, NOISE_PERCENT
from tests.benchmarks.small_experiment_sentences import small_experiments


def sentences() -> dict[str, list[str]]:
    """By page, what must stand there word for word, line breaks aside."""
    return {
        "README.md": [*_readme(), *_kills()],
        "docs/benchmarks.md": [*_real(), *_counts(), *_images(), *_large(), *_fit_choices(), *_planned()],
        "docs/calibration.md": [_rms_z()],
        "docs/howto/batch.md": [*_kills(), *_batch()],
        "docs/howto/counts.md": [_axis()],
        "docs/howto/plan.md": [_next_angle()],
        "docs/howto/reconstruct.md": [_seconds(), _row_memory(), _damaged()],
        "docs/howto/volumes.md": [*_volumes("cone_volume_24"), *_volumes("cone_volume_48")],
        "docs/small_experiments.md": small_experiments(),
    }


def _readme() -> list[str]:
    settings = [results(f"kmnist_{angles}_{percent}") for angles in ANGLES for percent in NOISE_PERCENT]
    coverage = [100 * found["mean"]["coverage_95"] for found in settings]
    saved = results("rectangles_128")["summary"]["30"]["planned"]["saved"]
    mean, low, high = (round(100 * saved[key]) for key in ("mean", "low", "high"))
    return [
        f"95 % intervals cover {min(coverage):.0f} to {max(coverage):.0f} % of the pixels",
        f"{mean} % fewer",
        f"95 % interval {low} to {high})",
    ]


def _kills() -> list[str]:
    found = results("batch_kills")
    assert (found["differences"], found["leftovers"], found["finished_and_written_again"]) == ([], [], [])
    return [f"Of {len(found['kills'])} random kills"]


def _large() -> list[str]:
    found, compiled = results("large_slice"), results("compiled_fit")
    rays, error = (100 * found[key] for key in ("rays_within_95", "rays_within_95_error"))
    slower = {name: [compiled[size][name]["of_the_usual"] for size in ("64", "128")] for name in compiled["64"]}
    first = sorted(compiled[size]["compiled"]["first_seconds"] for size in ("64", "128"))
    assert not compiled["bfloat16_units"]
    return [
        f"took {found['seconds'] / 60:.0f} minutes",
        f"{found['processor_seconds']:,.0f} s of processor time",
        f"and {found['memory_gb']:.1f} GB",
        f"with {found['psnr']:.1f} dB; {rays:.1f} ± {error:.1f} % of the test rays",
        (
            f"chi-square {found['chi_square']:.2f} ± {found['chi_square_error']:.2f}, and "
            f"{100 * found['object_pixels_within_95']:.1f} % of the"
        ),
        (
            f"takes {fmean(slower['compiled']):.1f} times as long at 64 and at 128 pixels a side, after "
            f"{first[0]:.0f} to {first[1]:.0f} s of compiling"
        ),
        f"such units, {fmean(slower['bfloat16']):.0f} times as long",
        (
            f"{compiled['256']['channels last']['of_the_usual']:.2f} times as long at 256 pixels, and "
            f"{compiled['64']['channels last']['of_the_usual']:.2f} times at 64"
        ),
    ]


def _real() -> list[str]:
    scans = results("real")["scans"]
    noise = [f"{1e3 * scan['reference_noise_per_mm']:.2f}" for scan in scans.values()]
    deviation = [f"{1e3 * scan['mean']['median_std_per_mm']:.1f}" for scan in scans.values()]
    more = results("real_60_views")["scans"]["tb"]
    return [
        f"{noise[0]}, {noise[1]} and {noise[2]} (in 0.001/mm)",
        f"median deviation of {deviation[0]}, {deviation[1]} and {deviation[2]}",
        (
            f"{more['seconds']:.0f} s and {more['peak_memory_gb']:.1f} GB, {more['correlation']:.4f}, chi-square "
            f"{more['chi_square_per_ray']:.2f}, {100 * more['coverage_95']:.1f} %, and "
            f"{100 * more['image_coverage_95']:.1f} % of pixels"
        ),
        f"coverage is {100 * scans['ta']['seeds'][0]['coverage_95']:.1f} %",
    ]


def _counts() -> list[str]:
    own, one = (results("counts_calibration")["each"][name] for name in ("per_ray", "homoscedastic"))
    gains = [weighted["psnr_db"] - same["psnr_db"] for weighted, same in zip(own, one, strict=True)]
    between, anything = (
        (min(image["rms_z"] for image in images), max(image["rms_z"] for image in images)) for images in (own, one)
    )
    return [
        f"{min(gains):.1f} to {max(gains):.1f} dB better",
        f"between {between[0]:.2f} and {between[1]:.2f}",
        f"anything from {anything[0]:.2f} to {anything[1]:.2f}",
    ]


def _images() -> list[str]:
    seconds = results("kmnist_seconds")["median"]
    bars = seconds["linearise"] + seconds["evidence"] + seconds["posterior"]
    ratio = results("published_ratio")
    images = results("kmnist_20_5")["images"]
    largest = max(image["rms_z"] for image in images)
    densities = sorted(image["joint_log_likelihood"] for image in images)
    return [
        f"{seconds['seconds']:.0f} s an image on two cores, of which {bars:.0f} s",
        f"take {ratio['ratio_of_the_fit_alone_to_all_of_ours']:.1f} times the processor time",
        f"it is {ratio['ratio']:.0f} times",
        (
            f"rms z of {largest:.1f} and a joint log-likelihood of {densities[0]:.0f}; the "
            f"mean of the others is {fmean(densities[1:]):.2f}"
        ),
    ]


def _planned() -> list[str]:
    deviations = results("replay_real_128")["curves"]["ta"]["0"]["planned"]["std_now_and_promised"].values()
    kept = [now / promised for (_, promised), (now, _) in pairwise(deviations)]
    changes = []
    for image in results("rectangles_128")["images"].values():
        after = image["planned"]["std_now_and_promised"].values() if "planned" in image else ()
        changes += [second / first for (first, _), (second, _) in pairwise(after)]
    alone = {name: seeds["0"]["planned ahead"].values() for name, seeds in results("replay_views_128")["scans"].items()}
    fewer = [row["views fewer than matern"] for row in results("rectangles_128")["summary"].values()]
    return [
        f"between {min(alone['ta']):.2f} and {max(alone['ta']):.2f} dB ahead on ta",
        f"between {min(alone['tb']):.2f} and {max(alone['tb']):.2f} on tb",
        f"between {min(alone['lotus']):.2f} and {max(alone['lotus']):.2f} on lotus",
        f"takes {fewer[0]['mean']:.1f} views fewer than by that field at 20",
        f"(95 % interval {fewer[0]['low']:.1f} to {fewer[0]['high']:.1f})",
        f"{fewer[1]['mean']:.1f} fewer at 30 ({fewer[1]['low']:.1f} to {fewer[1]['high']:.1f})",
        (
            f"{kept[0]:.2f} and {kept[1]:.2f} times the promised one after the first two steps and "
            f"{min(kept[2:]):.2f} to {max(kept[2:]):.2f} times it after the others"
        ),
        f"anything from {min(changes):.2f} to {max(changes):.2f} times that before",
    ]


def _rms_z() -> str:
    found = [scan["mean"]["image_rms_z"] for scan in results("real")["scans"].values()]
    return f"between {min(found):.2f} and {max(found):.2f}"


def _batch() -> list[str]:
    found, damaged = results("batch_throughput"), results("damaged_batch")
    runs = found["runs"]["1"]
    batch, worker = (max(max(run[key]) for run in runs) for key in ("parent_mb", "worker_mb"))
    assert damaged["refused_alone"] == damaged["failed_in_batch"] == damaged["without_result"]
    return [
        f"did {found['options']['scans']} scans {found['speed_up']:.2f} times as fast as one",
        f"at {1e3 * found['overhead_s_per_scan']:.0f} ms a scan",
        f"({batch:.0f} MB for the batch, {worker:.0f} MB for a worker",
        f"of {damaged['inputs']} damaged inputs in one batch, all {damaged['refused_alone']} that are refused alone",
    ]


def _axis() -> str:
    rows = results("tooth_axis")["rows"]
    first, second = (f"{row['cor_index']:.2f} ± {row['standard_error']:.2f}" for row in rows["true angles"].values())
    stated = {f"{row['cor_index']:.1f} ± {row['standard_error']:.1f}" for row in rows["stated angles"].values()}
    return f"the two rows give {first} and {second}, and {' or '.join(sorted(stated))} with that file's angles"


def _next_angle() -> str:
    seconds = {name: row["median"] for name, row in results("next_angle")["seconds"].items()}
    roi = seconds.pop("roi")
    low, high = min(seconds.values()), max(seconds.values())
    return f"takes {low:.1f} to {high:.1f} s on two idle cores, and with `roi` {roi:.1f} s"


def _seconds() -> str:
    seconds = [scan["seconds"] for scan in results("real_seconds")["scans"].values()]
    more = results("real_60_views")["scans"]["tb"]
    return (
        f"took {min(seconds):.0f} to {max(seconds):.0f} s on two cores, and from 60 views {more['seconds']:.0f} s and "
        f"{more['peak_memory_gb']:.1f} GB"
    )


def _row_memory() -> str:
    found = results("row_memory")
    return (
        f"a row of a volume of {found['volume_gb']:.1f} GB took {found['row_gb']:.2f} GB of memory, beside the "
        f"{found['imports_gb']:.1f} GB of the libraries"
    )


def _damaged() -> str:
    found = results("damaged_inputs")
    assert set(found["ended"]) == {"refused", "unseen", "unharmed"}
    return f"Of {found['inputs']} damaged files"


def _fit_choices() -> list[str]:
    found = results("fit_choices")
    lags = [{at: max(ratios) for at, ratios in scan["lags"].items()} for scan in found["scans"]]
    late = sorted((scan for scan in lags if scan["half"] > 1.2), key=lambda scan: scan["half"])
    lagged, lost = ([f"{scan[at]:.2f}" for scan in late] for at in ("half", "end"))
    assert len([scan for scan in lags if scan["third"] > 1.2]) == 2
    # Who lags is who lost: the ratio of the same attempt is above one to the end.
    for scan in found["scans"]:
        for at in ("third", "half"):
            for attempt, ratio in enumerate(scan["lags"][at]):
                assert ratio <= 1.2 or scan["lags"]["end"][attempt] > 1
    refits = [{row["steps"]: row for row in scan["refits"]} for scan in found["scans"] if "refits" in scan]

    def left(steps: int) -> str:
        return " and ".join(f"{rows[steps]['refit_misfit']:.2f}" for rows in refits)

    def off(steps: int) -> str:
        return " and ".join(f"{100 * abs(rows[steps]['relative_error_of_mean']):.1f}" for rows in refits)

    long = [row for rows in refits for steps, row in rows.items() if steps >= 50]
    ratios = {row["tolerance"]: row for row in found["tolerances"]}
    assert abs(ratios[0.05]["mean_ratio"] - 1) < 1e-4
    assert ratios[0.02]["scatter_of_ratio"] == ratios[0.05]["scatter_of_ratio"]
    return [
        f"{' and '.join(lagged)} times; run",
        f"came to {' and '.join(lost)} times",
        f"left at most {max(row['refit_misfit'] for row in long):.2f}",
        f"mean within {100 * max(abs(row['relative_error_of_mean']) for row in long):.1f} %",
        f"20 steps left {left(20)}, and a mean {off(20)} % off",
        f"5 left {left(5)}, and {off(5)} %",
        f"from pixel to pixel by {100 * ratios[0.05]['scatter_of_ratio']:.2f} %",
        f"with 0.1 by {100 * ratios[0.1]['scatter_of_ratio']:.2f} %",
    ]


def _volumes(name: str) -> list[str]:
    one, other = results(name)["seeds"].values()
    voxels, inside, rays = (
        f"{100 * one[key]:.1f} and {100 * other[key]:.1f} %"
        for key in ("voxels_within_95", "object_voxels_within_95", "rays_within_95")
    )
    chi_squares = [f"{seed['chi_square']:.2f} ± {seed['chi_square_error']:.2f}" for seed in (one, other)]
    return [
        f"{one['cpu_seconds']:.0f} and {other['cpu_seconds']:.0f} s of one core",
        f"{one['psnr']:.1f} and {other['psnr']:.1f} dB",
        f"has {one['psnr_fdk']:.1f} and {other['psnr_fdk']:.1f}",
        f"Of the true voxels {voxels}",
        f"inside the object {inside}",
        f"Of the test rays it was {rays}",
        f"chi-square {chi_squares[0]} and {chi_squares[1]}",
    ]
