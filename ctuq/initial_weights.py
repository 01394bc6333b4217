"""Weights that a fit starts from: a file of trained networks, with what they were trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor

from ctuq.config import NEIGHBOUR, RANDOM, Config
from ctuq.errors import CtuqError, InputError
from ctuq.whole_file import written_whole
from dip import UNet

_KEY = "ctuq_initial_weights"  # of the header


@dataclass(frozen=True, eq=False)
class InitialWeights:
    """Weights of one or more networks of one shape.

    Args:
        weights: by name, for each network.
        network: its settings (`UNetSettings`), as JSON knows them, and "dimensions".
        record: what they were trained on, and how well, as JSON knows it.
        file_name: that they were read from, without its folder; empty for weights made in memory.
        sha256: of that file, in hex, or of the file that `save` would write; empty where it was not computed.
    """

    weights: tuple[Mapping[str, Tensor], ...]
    network: Mapping[str, Any]
    record: Mapping[str, Any]
    file_name: str = ""
    sha256: str = ""

    @property
    def origin(self) -> dict[str, Any]:
        """What results say of it, as JSON knows it."""
        return {"file": self.file_name, "sha256": self.sha256, "record": dict(self.record)}

    def require_fit(self, members: Sequence[UNet]) -> None:
        """Say whether networks can start from these weights.

        Raises:
            InputError: networks of another shape, or more of them.
        """
        wanted = shape_of(members[0])
        found = {name: self.network.get(name) for name in wanted}
        name = self.file_name or "the initial weights"
        if wanted != found:
            differs = [key for key, value in wanted.items() if value != found[key]]
            expected, got = (", ".join(f"{key}={shape[key]}" for key in differs) for shape in (wanted, found))
            raise InputError(
                f"expected weights of a network with {expected} in {name} (fit.init), got {got}: make weights with "
                "this configuration (ctuq pretrain), or set network as theirs"
            )
        if len(members) > len(self.weights):
            raise InputError(
                f"expected weights of {len(members)} networks in {name}, as fit.members says, got {len(self.weights)}: "
                f"make weights with this configuration (ctuq pretrain), or set fit.members={len(self.weights)}"
            )

    def put_into(self, members: Sequence[UNet]) -> None:
        """Start every network from weights of its own.

        Raises:
            InputError: as `require_fit`, or weights that are not those of their network.
        """
        self.require_fit(members)
        for network, weights in zip(members, self.weights, strict=False):
            try:
                network.load_state_dict(dict(weights))
            except RuntimeError as error:
                raise InputError(f"expected all weights of the network in {self.file_name}, got: {error}") from error

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the weights (safetensors), whole or not at all. The same weights give the same bytes.

        Returns:
            The path that was written.

        Raises:
            InputError: the file exists and `force` is not given, or its folder is missing or read-only.
            CtuqError: what was read back is not what was written.
        """
        path = Path(path)
        with written_whole(path, force=force) as part:
            # Its own writer would let nobody else read the file.
            part.write_bytes(self._as_bytes())
            again = read_initial_weights(part)
            pairs = zip(self.weights, again.weights, strict=True)
            if not all(torch.equal(one[name].cpu(), other[name]) for one, other in pairs for name in one):
                raise CtuqError(f"{path}: what was read back is not what was written: is the disk sound?")
        return path

    def with_checksum(self) -> InitialWeights:
        """The same with the `sha256` of the file that `save` would write."""
        return replace(self, sha256=hashlib.sha256(self._as_bytes()).hexdigest())

    def _as_bytes(self) -> bytes:
        tensors = {
            f"{index}.{name}": value.detach().cpu().contiguous()
            for index, weights in enumerate(self.weights)
            for name, value in weights.items()
        }
        header = {"network": dict(self.network), "record": dict(self.record)}
        return serialised(tensors, metadata={_KEY: json.dumps(header, sort_keys=True)})


def shape_of(network: UNet) -> dict[str, Any]:
    """All that a network's weights must fit, as JSON knows it."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(network.settings)))
    channels = list(network.settings.channels_for(network.dimensions))  # left to their default or written out
    return {**settings, "channels": channels, "dimensions": network.dimensions}


def read_initial_weights(path: str | Path) -> InitialWeights:
    """Read a file of `ctuq pretrain`. Nothing in it is executed.

    Raises:
        InputError: no such file, or one of something else.
    """
    path = Path(path)
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
        networks: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, rest = name.partition(".")
            networks.setdefault(int(index), {})[rest] = value
        weights = tuple(networks[index] for index in range(len(networks)))
        found = InitialWeights(weights, dict(header["network"]), dict(header["record"]), path.name, sha256)
    except OSError as error:
        raise InputError(
            f"expected a file of weights (fit.init), but {path} cannot be read ({error.strerror}): check the path, or "
            "make one with ctuq pretrain"
        ) from error
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: expected weights of `ctuq pretrain` (fit.init), got something else ({error}): make them with it"
        ) from error
    if not all(value.isfinite().all() for value in tensors.values()):
        raise InputError(
            f"{path}: expected weights that are finite, got NaN or infinity: make them anew (ctuq pretrain)"
        )
    return found


def refuse_neighbour(config: Config) -> None:
    """Say that there is no row to start from.

    Raises:
        InputError: `fit.init` asks for one.
    """
    if config.fit.init == NEIGHBOUR:
        raise InputError(
            f"expected fit.init={RANDOM}, or a file of `ctuq pretrain`, where no row was reconstructed before, got "
            f"{NEIGHBOUR}: reconstruct several rows in one run (ctuq reconstruct SCAN --rows A:B), or choose "
            f"fit.init={RANDOM}"
        )


def initial_weights(config: Config, handed_on: InitialWeights | None = None) -> InitialWeights | None:
    """What `fit.init` names; None for random weights.

    Args:
        config: names them, and the networks.
        handed_on: by the neighbouring row, where there is one.

    Raises:
        InputError: as `read_initial_weights`, weights that the configured networks cannot start from, or a neighbour
            that is asked for and not there, or there and not asked for.
    """
    if handed_on is not None and config.fit.init != NEIGHBOUR:
        raise InputError(
            f"expected fit.init={NEIGHBOUR} with a neighbour to start from, got {config.fit.init}: choose that, or "
            "hand in no neighbour"
        )
    if config.fit.init == RANDOM:
        return None
    if handed_on is None:
        refuse_neighbour(config)
    found = read_initial_weights(config.fit.init) if handed_on is None else handed_on
    found.require_fit([UNet(config.network, generator=torch.Generator())] * config.fit.members)
    return found


def deciding_settings(config: Config, handed_on: InitialWeights | None = None) -> dict[str, Any]:
    """Of a configuration, what decides a reconstruction, as JSON knows it: weights to start from by their content.

    Args:
        config: of it.
        handed_on: by the neighbouring row, where there is one.

    Raises:
        InputError: as `initial_weights`.
    """
    values, start = config.as_json(), initial_weights(config, handed_on)
    del values["pretraining"]  # the weights that came of it stand for it
    if start is not None:
        values["fit"]["init"] = start.sha256
    return values
