"""The configuration of a reconstruction: YAML in, checked settings out. Nothing else knows YAML or pydantic."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ctuq.errors import InputError
from ctuq.preprocessing import PreprocessingSettings
from dip import EvidenceSettings, FitSettings, PosteriorSettings, PretrainingSettings, PriorSettings, UNetSettings

RANDOM = "random"
"""`fit.init` of fits that start from random weights."""

NEIGHBOUR = "neighbour"
"""`fit.init` of fits that start from the network of the detector row before, in a run of several rows."""

_NEIGHBOURS_SHARE = 3  # so many times fewer steps than from random weights


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class GridConfig(_Section):
    """The image. `size`: pixels a side (None: number of detectors after binning); `pixel_mm`: None for the field of
    view at the rotation axis / size; `slices`: of a volume (None: cubes over the detector's height at the rotation
    axis); `largest_attenuation`: the image's scale in 1/mm (None: taken from the filtered back-projection).
    """

    size: int | None = Field(default=None, ge=1)
    slices: int | None = Field(default=None, ge=1)
    pixel_mm: float | None = Field(default=None, gt=0)
    largest_attenuation: float | None = Field(default=None, gt=0)


class ScanConfig(_Section):
    """Which part of the scan is used. `detector_bin`: detector pixels averaged into one (None: as many as fit into an
    image pixel); `angle_step`: every step-th view; `row`: detector row (None: the middle one).
    """

    detector_bin: int | None = Field(default=None, ge=1)
    angle_step: int = Field(default=1, ge=1)
    row: int | None = Field(default=None, ge=0)


@dataclass(frozen=True, kw_only=True)
class FitConfig(FitSettings):
    """`FitSettings`, and `init`: "random" weights to start from, the path of a file of `ctuq pretrain`, or "neighbour".

    With "neighbour" a detector row starts from the network of the row before it in the same run, takes a third of
    `steps`, rounded up, and shares the hold-out of the first row. In the rows measured that was as good by the test
    rays, but fewer true pixels lay in their intervals than after all steps from random weights
    (docs/howto/reconstruct.md).
    """

    init: str = RANDOM

    @property
    def first_choice(self) -> int:
        """The step before which no state is chosen: from a neighbour's weights half of the steps, else none.

        Early states are still the neighbour's, whichever TV weight is tried: they say nothing of it.
        """
        return math.ceil(self.steps / 2) if self.init == NEIGHBOUR else 0

    @property
    def taken_steps(self) -> int:
        """Of Adam, for each combination tried: `steps`, or a third of them, rounded up, from a neighbour's weights."""
        return math.ceil(self.steps / _NEIGHBOURS_SHARE) if self.init == NEIGHBOUR else self.steps


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig(PretrainingSettings):
    """`PretrainingSettings`, and what is learned from: `images` of random ellipses, and the `noise` of their rays as a
    share of the mean line integral (None: as neighbouring detector pixels of the scan show it).
    """

    images: int = 2000
    noise: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images < 2:
            raise ValueError(f"images must be at least 2, got {self.images}")
        if self.noise is not None and not 0 <= self.noise < math.inf:
            raise ValueError(f"noise must be a finite number from 0, got {self.noise}")


class HoldoutConfig(_Section):
    """`fraction`: of the views (or rays, in scans of few views) that choose, and as many again that test."""

    fraction: float = Field(default=0.125, gt=0, le=0.25)


class DesignConfig(_Section):
    """How views are planned.

    `n_draws`: of the posterior behind a plan, beyond `exact_pixels` pixels; `refit_every`: new views after which
    `ctuq acquire` reconstructs anew; `retries`: how often it suggests a failed view again; `forbidden_deg`: wedges from
    start to stop that no view may lie in; `min_separation_deg`: between any two views; `max_views`, `target_std` (of
    the region, 1/mm), `min_score`: when to stop, None for never; `endless`: whether the motor turns past 360 degrees;
    `turning_cost`: of a degree, in exposures of one view: scores are per exposure, turning there included.
    """

    n_draws: int = Field(default=1000, ge=2)
    exact_pixels: int = Field(default=2500, ge=1)
    refit_every: int = Field(default=5, ge=1)
    retries: int = Field(default=1, ge=0)
    forbidden_deg: tuple[tuple[float, float], ...] = ()
    min_separation_deg: float = Field(default=0.0, ge=0)
    max_views: int | None = Field(default=None, ge=1)
    target_std: float | None = Field(default=None, gt=0)
    min_score: float | None = Field(default=None, gt=0)
    endless: bool = True
    turning_cost: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class Config(_Section):
    """Everything that decides a reconstruction, or a plan, besides the scan and the seed.

    configs/default.yaml says what every key means, in which unit, and its default.

    Args:
        grid: the image: pixels and their size.
        scan: which part of the scan is used.
        preprocessing: what is done to the rays before.
        network: the U-Net that makes the image.
        fit: how it is trained.
        pretraining: how weights for it to start from are made.
        prior: which images the linearised network holds for possible.
        evidence: how the variances are learned.
        posterior: how the error bars are computed.
        holdout: what is kept from the fit.
        design: which view to measure next.
    """

    grid: GridConfig = GridConfig()
    scan: ScanConfig = ScanConfig()
    preprocessing: PreprocessingSettings = PreprocessingSettings()
    network: UNetSettings = UNetSettings()
    fit: FitConfig = FitConfig()
    pretraining: PretrainingConfig = PretrainingConfig()
    prior: PriorSettings = PriorSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    posterior: PosteriorSettings = PosteriorSettings()
    holdout: HoldoutConfig = HoldoutConfig()
    design: DesignConfig = DesignConfig()

    @property
    def from_random_weights(self) -> Config:
        """The same with `fit.init` random."""
        return self.model_copy(update={"fit": replace(self.fit, init=RANDOM)})

    def for_any_folder(self) -> Config:
        """The same with absolute paths, for processes that may have another working folder."""
        if self.fit.init in (RANDOM, NEIGHBOUR):
            return self
        return self.model_copy(update={"fit": replace(self.fit, init=str(Path(self.fit.init).resolve()))})

    def as_json(self) -> dict[str, Any]:
        """The resolved configuration in JSON's types."""
        values: dict[str, Any] = json.loads(self.model_dump_json())
        return values


def load_config(source: str | Path | Mapping[str, object] | None = None, *, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration.

    Args:
        source: a YAML file, a mapping, or None for the defaults.
        overrides: "section.key=value" strings, values in YAML; they win.

    Raises:
        InputError: no such file, not YAML, an unknown key (named, with the keys that exist), or a value out of range.
    """
    values = _values(source)
    before = _problems(values)
    told = dict(_apply_override(values, override) for override in overrides)
    problems = _problems(values)
    if not problems:
        return Config.model_validate(values)
    place = f"{source}: " if isinstance(source, (str, Path)) else ""
    # pydantic's own error says the same in its words.
    raise InputError(
        "\n".join((_overridden(problem, told, before) or place) + _explain(problem) for problem in problems)
    )


def _problems(values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    try:
        Config.model_validate(values)
    except ValidationError as error:
        return list(error.errors())
    return []


def _overridden(problem: Mapping[str, Any], told: Mapping[str, str], before: Sequence[Mapping[str, Any]]) -> str:
    """The overrides that a problem comes from, "--set key=value: "; empty where it does not.

    Args:
        problem: as pydantic has it.
        told: the overrides, by "section.key".
        before: the problems without them.
    """
    place = [str(part) for part in problem["loc"]]
    if len(place) > 1:
        names = [".".join(place[:2])]
    elif (problem["loc"], problem["msg"]) in [(other["loc"], other["msg"]) for other in before]:
        names = []
    else:  # of a section as a whole
        names = [name for name in told if name.startswith(f"{place[0]}.")]
    given = [f"--set {told[name]}" for name in names if name in told]
    return f"{' '.join(given)}: " if given else ""


def _values(source: str | Path | Mapping[str, object] | None) -> dict[str, Any]:
    if source is None:
        return {}
    return _copied(source) if isinstance(source, Mapping) else _read_yaml(Path(source))


def _copied(source: Mapping[str, object]) -> dict[str, Any]:
    return {str(key): _copied(value) if isinstance(value, Mapping) else value for key, value in source.items()}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"expected a configuration file, but {path} does not exist; try the path again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"expected a readable text file, but {path} cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise InputError(
            f"expected YAML, but {path} is not ({error}); see configs/default.yaml for the form"
        ) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(
            f"expected sections with keys in {path}, got {type(values).__name__}; see configs/default.yaml"
        )
    return values


def _apply_override(values: dict[str, Any], override: str) -> tuple[str, str]:
    """Write it into the values, and say which key it is of."""
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or len(keys) != 2 or not all(keys):
        raise InputError(f"expected --set section.key=value, got {override!r}; try --set grid.size=128")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"expected a value in YAML after {name}=, got {text!r}; try --set grid.size=128") from error
    section = values.setdefault(keys[0], {})
    if not isinstance(section, dict):
        raise InputError(f"expected {keys[0]} to be a section with keys, got {section!r}; try --set {name}={text}")
    section[keys[1]] = value
    return ".".join(keys), override.strip()


def _explain(problem: Mapping[str, Any]) -> str:
    place = [str(part) for part in problem["loc"]]
    name = ".".join(place)
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _keys(place[:-1])
        where = f"in section {place[0]}" if len(place) > 1 else "among the sections"
        return f"expected a known configuration key, got {name}; {where} there are: {', '.join(known)}"
    return f"expected a valid {name}, got {problem['input']!r}: {problem['msg']}"


def _keys(place: Sequence[str]) -> list[str]:
    fields = Config.model_fields
    if not place:
        return list(fields)
    return list(Config().as_json()[place[0]])
