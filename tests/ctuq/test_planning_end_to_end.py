"""Planning on a real reconstruction, small: network, variances, draws, and the rays' noise as it was learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ctuq import plan, read_result, reconstruct
from ctuq.__main__ import main
from ctuq.config import load_config
from ctuq.sinogram_file import write_sinogram_file
from tests.ctuq.test_reconstructing import QUICK, disc_scan, run


def test_noise_of_a_reconstruction_is_what_it_says_of_its_rays(tmp_path: Path) -> None:
    found = run()
    assert found.rays is not None
    assert found.rays.geometry.sinogram_shape == (30, 26)
    assert found.rays.noise.view_covariance is not None  # whole views were held out
    mean = float(np.asarray(found.rays.noise.variance).mean())
    assert mean == pytest.approx(found.noise_variance, rel=0.5)  # the representation's profile is not 1 on average
    large = run(scan=disc_scan(factor=4.0)).rays
    assert large is not None
    assert torch.equal(torch.as_tensor(large.noise.variance), 16 * torch.as_tensor(found.rays.noise.variance))
    read = read_result(found.save(tmp_path / "r.h5"))
    assert read.rays is not None
    assert read.rays.noise.view_covariance is not None


def test_a_plan_keeps_its_promise_under_the_model_that_made_it() -> None:
    found = reconstruct(disc_scan(n_views=5), load_config(overrides=QUICK))
    assert found.rays is not None
    planned = plan(found, candidates=30, n_angles=4)
    assert float(planned.region_std[0]) == pytest.approx(float(found.std.square().mean().sqrt()), rel=1e-4)
    assert 0.1 < float(planned.promised_fall[-1]) < 1
    assert (planned.scores > 0).all()


def test_an_acquisition_on_the_command_line(tmp_path: Path) -> None:
    write_sinogram_file(tmp_path / "pilot.h5", disc_scan(n_views=4))
    settings = [word for setting in QUICK for word in ("--set", setting)]
    arguments = ["acquire", "start", str(tmp_path / "run"), str(tmp_path / "pilot.h5"), "--candidates", "24"]
    assert main([*arguments, *settings]) == 0
    for name in ("first.npy", "again.npy"):
        assert main(["acquire", "next", str(tmp_path / "run"), "-n", "2", "--out", str(tmp_path / name)]) == 0
    assert np.load(tmp_path / "first.npy").tolist() == np.load(tmp_path / "again.npy").tolist()
