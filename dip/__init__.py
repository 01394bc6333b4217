"""The linearised deep image prior: network, fit, Jacobian, prior, evidence, posterior, calibration."""

from dip.calibration import Calibration, calibrate
from dip.evidence import Learned, RayCovariance, log_evidence, log_predictive, maximise, predictive_factor
from dip.fit import Fit, FitSettings, fit
from dip.gram import gram_matrices, ray_jacobian
from dip.holdout import Holdout, hold_out
from dip.jacobian import NetworkJacobian
from dip.learning import EvidenceSettings, learn, temperature
from dip.linear_model import LinearModel, PosteriorSettings, PriorSettings, linearise
from dip.misfit import RampMisfit, total_variation
from dip.model_error import representation_profile, smooth_correlation
from dip.posterior import DensePosterior, Posterior, SampledPosterior, Samples, VarianceEstimate, covariance_root
from dip.prior import NetworkPrior, PriorKind, weight_groups
from dip.unet import UNet, UNetSettings

__all__ = [
    "Calibration",
    "DensePosterior",
    "EvidenceSettings",
    "Fit",
    "FitSettings",
    "Holdout",
    "Learned",
    "LinearModel",
    "NetworkJacobian",
    "NetworkPrior",
    "Posterior",
    "PosteriorSettings",
    "PriorKind",
    "PriorSettings",
    "RampMisfit",
    "RayCovariance",
    "SampledPosterior",
    "Samples",
    "UNet",
    "UNetSettings",
    "VarianceEstimate",
    "calibrate",
    "covariance_root",
    "fit",
    "gram_matrices",
    "hold_out",
    "learn",
    "linearise",
    "log_evidence",
    "log_predictive",
    "maximise",
    "predictive_factor",
    "ray_jacobian",
    "representation_profile",
    "smooth_correlation",
    "temperature",
    "total_variation",
    "weight_groups",
]
