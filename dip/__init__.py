"""The linearised deep image prior: network, fit, Jacobian, prior, evidence, posterior, calibration."""

from dip.calibration import Calibration, calibrate
from dip.conjugate_gradient_update import ConjugateGradientUpdate
from dip.evidence import Learned, log_evidence, log_predictive, maximise, predictive_factor
from dip.expectation_maximisation import (
    Estimate,
    ExpectationMaximisationSettings,
    LatentRays,
    Solve,
    conjugate_gradient_solve,
    expectation_maximisation,
)
from dip.fit import Fit, fit
from dip.fit_settings import FitSettings
from dip.gram import filter_gram_matrices, gram_matrices, ray_jacobian
from dip.holdout import Holdout, hold_out
from dip.hyperprior import LogNormal, LogNormalPrior
from dip.jacobian import NetworkJacobian
from dip.learning import EvidenceSettings, learn, temperature
from dip.learning_task import learned_from
from dip.linear_model import LinearModel
from dip.linearisation import linearise
from dip.linearisation_error import linearisation_error
from dip.matern import MaternPrior
from dip.misfit import RampMisfit, total_variation
from dip.model_error import representation_profile, smooth_correlation
from dip.pathwise import CholeskyUpdate, PathwiseUpdate, Update, WhitenedRays
from dip.posterior import (
    DensePosterior,
    Posterior,
    RegionStd,
    SampledPosterior,
    Samples,
    VarianceEstimate,
    covariance_root,
)
from dip.posterior_settings import PosteriorMethod, PosteriorSettings
from dip.preconditioned_solve import PreconditionedSolve
from dip.pretraining import PretrainingSettings, pretrain_network
from dip.prior import NetworkPrior
from dip.prior_settings import PriorSettings
from dip.ray_covariance import RayCovariance
from dip.ray_factor import RayFactor
from dip.ray_model import RayModel
from dip.sample_then_optimise import SampleThenOptimiseUpdate
from dip.sampled_prediction import Prediction, Temperature, predict_by_samples, temperature_by_samples
from dip.sensitivity import Sensitivity, estimate_sensitivity, sensitivity_of
from dip.stochastic_dual_descent import StochasticDualDescentUpdate
from dip.tangent_kernel import TangentKernelModel, tangent_kernel
from dip.total_variation_prior import TotalVariationPrior
from dip.unet import Dimensions, UNet, UNetSettings
from dip.weight_prior import (
    PriorKind,
    WeightGroup,
    WeightRoot,
    check_prior_kind,
    length_name,
    weight_groups,
)

__all__ = [
    "Calibration",
    "CholeskyUpdate",
    "ConjugateGradientUpdate",
    "DensePosterior",
    "Dimensions",
    "Estimate",
    "EvidenceSettings",
    "ExpectationMaximisationSettings",
    "Fit",
    "FitSettings",
    "Holdout",
    "LatentRays",
    "Learned",
    "LinearModel",
    "LogNormal",
    "LogNormalPrior",
    "MaternPrior",
    "NetworkJacobian",
    "NetworkPrior",
    "PathwiseUpdate",
    "Posterior",
    "PosteriorMethod",
    "PosteriorSettings",
    "PreconditionedSolve",
    "Prediction",
    "PretrainingSettings",
    "PriorKind",
    "PriorSettings",
    "RampMisfit",
    "RayCovariance",
    "RayFactor",
    "RayModel",
    "RegionStd",
    "SampleThenOptimiseUpdate",
    "SampledPosterior",
    "Samples",
    "Sensitivity",
    "Solve",
    "StochasticDualDescentUpdate",
    "TangentKernelModel",
    "Temperature",
    "TotalVariationPrior",
    "UNet",
    "UNetSettings",
    "Update",
    "VarianceEstimate",
    "WeightGroup",
    "WeightRoot",
    "WhitenedRays",
    "calibrate",
    "check_prior_kind",
    "conjugate_gradient_solve",
    "covariance_root",
    "estimate_sensitivity",
    "expectation_maximisation",
    "filter_gram_matrices",
    "fit",
    "gram_matrices",
    "hold_out",
    "learn",
    "learned_from",
    "length_name",
    "linearisation_error",
    "linearise",
    "log_evidence",
    "log_predictive",
    "maximise",
    "predict_by_samples",
    "predictive_factor",
    "pretrain_network",
    "ray_jacobian",
    "representation_profile",
    "sensitivity_of",
    "smooth_correlation",
    "tangent_kernel",
    "temperature",
    "temperature_by_samples",
    "total_variation",
    "weight_groups",
]
