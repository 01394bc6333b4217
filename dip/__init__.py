"""The linearised deep image prior: network, fit, Jacobian, prior, evidence, posterior, calibration."""

from dip.calibration import Calibration, calibrate
from dip.conjugate_gradient_update import ConjugateGradientUpdate
from dip.evidence import Learned, RayCovariance, log_evidence, log_predictive, maximise, predictive_factor
from dip.fit import Fit, FitSettings, RampMisfit, fit, total_variation
from dip.gram import gram_matrices, ray_jacobian
from dip.holdout import Holdout, hold_out
from dip.jacobian import NetworkJacobian
from dip.learning import EvidenceSettings, learn, temperature
from dip.linear_model import LinearModel, PriorSettings, linearise
from dip.matern import MaternPrior
from dip.model_error import representation_profile, smooth_correlation
from dip.pathwise import CholeskyUpdate, PathwiseUpdate, Update, WhitenedRays
from dip.posterior import DensePosterior, Posterior, SampledPosterior, Samples, VarianceEstimate, covariance_root
from dip.posterior_settings import PosteriorMethod, PosteriorSettings
from dip.prior import NetworkPrior, PriorKind, weight_groups
from dip.sample_then_optimise import SampleThenOptimiseUpdate
from dip.stochastic_dual_descent import StochasticDualDescentUpdate
from dip.unet import UNet, UNetSettings

__all__ = [
    "Calibration",
    "CholeskyUpdate",
    "ConjugateGradientUpdate",
    "DensePosterior",
    "EvidenceSettings",
    "Fit",
    "FitSettings",
    "Holdout",
    "Learned",
    "LinearModel",
    "MaternPrior",
    "NetworkJacobian",
    "NetworkPrior",
    "PathwiseUpdate",
    "Posterior",
    "PosteriorMethod",
    "PosteriorSettings",
    "PriorKind",
    "PriorSettings",
    "RampMisfit",
    "RayCovariance",
    "SampleThenOptimiseUpdate",
    "SampledPosterior",
    "Samples",
    "StochasticDualDescentUpdate",
    "UNet",
    "UNetSettings",
    "Update",
    "VarianceEstimate",
    "WhitenedRays",
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
