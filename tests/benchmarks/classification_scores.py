"""What class probabilities are worth: density of the labels, calibration, and telling outsiders."""

from __future__ import annotations

from typing import NamedTuple

import scipy.stats
import torch
from torch import Tensor

_BINS = 15
_LEAST = 1e-12  # of a probability


class ClassScores(NamedTuple):
    """Of probabilities (input, class) against labels."""

    accuracy: float
    nll: float  # mean, nats
    ece: float  # mean distance of confidence and accuracy over 15 bins of equal width (arXiv 1706.04599)


def class_scores(probability: Tensor, labels: Tensor) -> ClassScores:
    """Score (input, class) against labels (input,)."""
    confidence, chosen = probability.double().max(dim=1)
    right = (chosen == labels).double()
    bins = (confidence * _BINS).long().clamp(max=_BINS - 1)
    gap = torch.zeros(_BINS, dtype=torch.float64).index_add(0, bins, confidence - right)
    density = probability.double().gather(1, labels[:, None]).clamp(min=_LEAST).log()
    return ClassScores(float(right.mean()), -float(density.mean()), float(gap.abs().sum()) / len(labels))


def entropy(probability: Tensor) -> Tensor:
    """Of the predicted classes, (input,), nats."""
    p = probability.double()
    return -(p * p.clamp(min=_LEAST).log()).sum(1)


def auroc(insiders: Tensor, outsiders: Tensor) -> float:
    """Chance that an outsider scores higher than an insider; ties count half."""
    statistic = scipy.stats.mannwhitneyu(outsiders.numpy(), insiders.numpy()).statistic
    return float(statistic) / (len(insiders) * len(outsiders))
