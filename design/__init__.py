"""Which angle to measure next: candidates, acquisition functions, greedy selection, planning with an instrument."""

from design.acquisition import (
    DIAGONAL_INFORMATION_GAIN,
    EXPECTED_SQUARED_ERROR,
    INFORMATION_GAIN,
    REGION_GAIN,
    Acquisition,
    Criterion,
    ViewBelief,
    diagonal_information_gain,
    expected_squared_error,
    information_gain,
    information_gain_standard_error,
    region_gain,
)
from design.angle_planner import AnglePlanner
from design.candidate_views import CandidateViews, draws_for
from design.candidates import Candidates, view_id
from design.conditioned_beliefs import ImageBelief, ScanModel
from design.constraints import Constraints, Cost, Wedge
from design.factor_downdate import FactorDowndate
from design.greedy import GreedySelection, Plan
from design.image_covariance import ImageCovariance, drawn_covariance, exact_covariance, sampled_covariance
from design.motor_order import motor_order
from design.planner_points import PointFormat
from design.planner_settings import PlannerSettings
from design.planner_state import MeasuredView, PlannerState, Suggestion
from design.stopping import StoppingRule

__all__ = [
    "DIAGONAL_INFORMATION_GAIN",
    "EXPECTED_SQUARED_ERROR",
    "INFORMATION_GAIN",
    "REGION_GAIN",
    "Acquisition",
    "AnglePlanner",
    "CandidateViews",
    "Candidates",
    "Constraints",
    "Cost",
    "Criterion",
    "FactorDowndate",
    "GreedySelection",
    "ImageBelief",
    "ImageCovariance",
    "MeasuredView",
    "Plan",
    "PlannerSettings",
    "PlannerState",
    "PointFormat",
    "ScanModel",
    "StoppingRule",
    "Suggestion",
    "ViewBelief",
    "Wedge",
    "diagonal_information_gain",
    "drawn_covariance",
    "draws_for",
    "exact_covariance",
    "expected_squared_error",
    "information_gain",
    "information_gain_standard_error",
    "motor_order",
    "region_gain",
    "sampled_covariance",
    "view_id",
]
