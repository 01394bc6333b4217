"""The educated start: weights from random ellipses, their file, and fits that begin with them."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ctuq import initial_weights as initial_weights_module
from ctuq import pretraining
from ctuq.__main__ import main
from ctuq.batch_planning import Wishes
from ctuq.config import Config, load_config
from ctuq.ellipses import random_ellipses
from ctuq.errors import CtuqError, InputError
from ctuq.initial_weights import InitialWeights, deciding_settings, read_initial_weights
from ctuq.pretraining import pretrain, simulated_pairs
from ctuq.reconstructing import reconstruct
from ctuq.report import render_report
from ctuq.result_file import read_result
from ctuq.scan import Scan
from ctuq.sinogram_file import write_sinogram_file
from ctuq.stage_watch import StageWatch
from ctuq.summary import summary_lines
from operators import ImageGrid, ParallelBeam, RayTransform

SMALL = ("grid.size=16", "network.channels=[4, 4]", "network.skip_channels=[2]", "fit.bfloat16=false")
SHORT = ("fit.steps=8", "fit.refit_steps=2", "fit.tv_weights=[0]", "evidence.max_evaluations=3")
TRAINING = ("pretraining.images=48", "pretraining.steps=300", "pretraining.learning_rate=0.01")
KERNEL = ("prior.kind=tangent-kernel", "network.output=sigmoid", "grid.largest_attenuation=1")


def scan(*, variance: Any = None, deviation: float = 0.1) -> Scan:
    angles = np.linspace(0, np.pi, 12, endpoint=False)
    geometry = ParallelBeam(grid=ImageGrid(shape=(16, 16)), angles_rad=angles, n_detectors=18)
    rays = RayTransform(geometry)(torch.as_tensor(random_ellipses(16, rng=np.random.default_rng(99))))
    noise = deviation * torch.randn(12, 18, generator=torch.Generator().manual_seed(1))
    return Scan(rays + noise, geometry, variance, "ellipses")


def config(*overrides: str) -> Config:
    return load_config(overrides=[*SMALL, *SHORT, *TRAINING, "pretraining.bfloat16=false", *overrides])


@functools.cache
def weights(*overrides: str) -> InitialWeights:
    return pretrain(scan(), config(*overrides))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return weights().save(tmp_path / "w.safetensors")


def test_trained_networks_are_nearer_to_unseen_ellipses_than_what_they_are_given() -> None:
    record = weights().record
    assert record["rms_error"][0] < record["rms_error_of_input"]


def test_a_fit_that_starts_from_them_starts_lower_and_repeats(file: Path) -> None:
    random, educated, again = (
        reconstruct(scan(), config(*more)) for more in ((), (f"fit.init={file}",), (f"fit.init={file}",))
    )
    assert float(educated.fit_loss[0]) < 0.8 * float(random.fit_loss[0])
    assert torch.equal(educated.image, again.image)


def test_every_member_starts_from_weights_of_its_own() -> None:
    found = weights("fit.members=2", "pretraining.steps=2", *KERNEL)
    first, second = found.weights
    assert not torch.equal(first["outward.weight"], second["outward.weight"])


def test_a_result_names_its_start(file: Path, tmp_path: Path) -> None:
    found = reconstruct(scan(), config(f"fit.init={file}"))
    read = read_result(found.save(tmp_path / "r.h5"))
    start = read_initial_weights(file)
    for one in (found, read):
        assert one.provenance.initial_weights == start.origin
        assert f"w.safetensors (sha256 {start.sha256[:12]}" in "\n".join(summary_lines(one))
    assert f"w.safetensors (sha256 {start.sha256[:12]}" in render_report(read)
    assert start.origin["record"]["geometry"]["angles_deg"] == pytest.approx([15.0 * view for view in range(12)])
    assert start.origin["record"]["seed"] == 0


def test_a_random_start_is_none(tmp_path: Path) -> None:
    found = reconstruct(scan(), config())
    assert read_result(found.save(tmp_path / "r.h5")).provenance.initial_weights is None
    assert "started from" not in "\n".join(summary_lines(found))


def test_what_is_written_is_read_back_and_the_same_weights_are_the_same_bytes(file: Path, tmp_path: Path) -> None:
    read = read_initial_weights(file)
    assert (read.network, read.record) == (weights().network, json.loads(json.dumps(weights().record)))
    for one, other in zip(read.weights, weights().weights, strict=True):
        assert set(one) == set(other)
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert read.save(tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_a_file_is_replaced_by_force_alone_and_never_half_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()
    with pytest.raises(InputError, match="--force"):
        weights().save(file)
    monkeypatch.setattr(initial_weights_module, "read_initial_weights", lambda _: weights("pretraining.steps=2"))
    with pytest.raises(CtuqError, match="not what was written"):
        weights().save(file, force=True)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("network.channels=[4, 6]",), r"channels=\[4, 6\].* got channels=\[4, 4\].*ctuq pretrain"),
        (("network.skip_channels=[0]",), r"skip_channels=\[0\].*got skip_channels=\[2\]"),
        (("network.output=sigmoid", "grid.largest_attenuation=1"), "output=sigmoid.*got output=linear"),
        (("network.norm=group", "prior.kind=layer"), "norm=group.*got norm=none"),
    ],
)
def test_weights_of_another_network_are_refused(overrides: tuple[str, ...], words: str, file: Path) -> None:
    with pytest.raises(InputError, match=words):
        reconstruct(scan(), config(f"fit.init={file}", *overrides))


def test_more_members_than_weights_are_refused(file: Path) -> None:
    found = weights("pretraining.steps=2", *KERNEL)
    found.save(file, force=True)
    with pytest.raises(InputError, match=r"weights of 2 networks .*fit\.members.* got 1: .*fit\.members=1"):
        reconstruct(scan(), config(f"fit.init={file}", "fit.members=2", *KERNEL))


def other_tensors(path: Path) -> None:
    save_file({"0.a": torch.zeros(2)}, path)


def text(path: Path) -> None:
    path.write_text("no weights")


def truncated(path: Path) -> None:
    weights().save(path)
    path.write_bytes(path.read_bytes()[:-40])


def without_some(path: Path) -> None:
    some = {name: value for name, value in weights().weights[0].items() if name != "outward.bias"}
    InitialWeights((some,), weights().network, weights().record).save(path)


@pytest.mark.parametrize(
    "spoil", [other_tensors, text, truncated, without_some, lambda path: None], ids=lambda f: f.__name__
)
def test_a_file_of_something_else_is_refused_by_name(spoil: Any, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    spoil(path)
    with pytest.raises(InputError, match=r"odd\.safetensors"):
        reconstruct(scan(), config(f"fit.init={path}"))


def test_a_batch_is_keyed_by_the_weights_and_not_by_their_name(file: Path, tmp_path: Path) -> None:
    def key(*overrides: str) -> str:
        return Wishes(config=config(*overrides)).settings

    copy, other = tmp_path / "copy.safetensors", tmp_path / "other.safetensors"
    copy.write_bytes(file.read_bytes())
    weights("pretraining.steps=2").save(other)
    assert key(f"fit.init={file}") == key(f"fit.init={copy}")
    assert len({key(), key(f"fit.init={file}"), key(f"fit.init={other}")}) == 3
    assert key() == key("pretraining.steps=7")
    with pytest.raises(InputError, match="nowhere"):
        key("fit.init=nowhere")


def test_workers_elsewhere_find_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    settled = config("fit.init=w.safetensors").for_any_folder()
    monkeypatch.chdir("/")
    assert deciding_settings(settled)["fit"]["init"] == read_initial_weights(file).sha256
    assert config().for_any_folder() == config()


def test_masked_rays_teach_nothing_and_noise_is_the_scans() -> None:
    variance = torch.full((12, 18), 2.0)
    variance[:, 4] = 1e12
    settings = config("pretraining.images=3")

    def pairs(given: Scan, noise: float) -> Sequence[torch.Tensor]:
        return simulated_pairs(given, settings, noise, rng=np.random.default_rng(0), watch=StageWatch(None))

    inputs, images = pairs(scan(variance=variance), 0.05)
    assert inputs.shape == images.shape == (3, 1, 16, 16)
    assert inputs.isfinite().all()
    noisy, _ = pairs(scan(), 0.5)
    clean, _ = pairs(scan(), 0.0)
    assert float((noisy - clean).square().mean()) > 0.0
    loud = scan(deviation=3.0)
    found = pretrain(loud, config("pretraining.images=2", "pretraining.steps=1")).record["noise_share"]
    assert found == pytest.approx(3.0 / float(loud.sinogram.abs().mean()), rel=0.3)


def test_what_could_not_be_reconstructed_is_refused_and_the_file_may_be_yet_to_make() -> None:
    with pytest.raises(InputError, match=r"grid\.largest_attenuation"):
        pretrain(scan(), config("network.output=sigmoid"))
    assert weights("fit.init=not-yet", "pretraining.steps=2").weights


def test_images_that_do_not_fit_into_memory_are_refused_with_how_many_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "available_memory", lambda: 100_000)
    words = r"the 100\.0 kB of free memory, got pretraining.images=49 of 16 × 16 pixels, .* 100\.4 kB: .* up to 48"
    with pytest.raises(InputError, match=words):
        pretrain(scan(), config("pretraining.images=49"))
    assert pretrain(scan(), config("pretraining.images=48", "pretraining.steps=1")).weights


@pytest.mark.parametrize("setting", ["images=1", "noise=-1", "noise=.nan", "steps=0", "batch=0"])
def test_settings_out_of_range_are_named(setting: str) -> None:
    with pytest.raises(InputError, match=rf"pretraining.*{setting.partition('=')[0]}"):
        config(f"pretraining.{setting}")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out, result = tmp_path / "scan.h5", tmp_path / "w.safetensors", tmp_path / "r.h5"
    write_sinogram_file(path, scan())
    settings = [f"--set={one}" for one in (*SMALL, *SHORT, *TRAINING, "pretraining.steps=5")]
    assert main(["pretrain", str(path), "--out", str(out), "--json", *settings]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["settings"]["steps"]) == ("pretrained", 5)
    assert main(["pretrain", str(path), "--out", str(out), *settings]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["pretrain", str(path), "--out", str(path), "--force", *settings]) == 2
    assert "differ from the scan" in capsys.readouterr().err
    started = [*settings, f"--set=fit.init={out}"]
    assert main(["reconstruct", str(path), "--out", str(result), "--no-report", *started]) == 0
    with h5py.File(result) as content:
        note = json.loads(content["entry/reconstruction/configuration/data"].asstr()[()])
    assert note["initial_weights"]["file"] == "w.safetensors"
