"""What a response is asked for: 58 scenarios in 8 groups, each with a description and criteria."""

from judge_training.scenarios.catalog import Catalog, Criterion, Scenario, ScenarioRow, load_scenarios, scenario_rows
from judge_training.scenarios.names import group_of, groups, scenario_names
from judge_training.scenarios.release import load_release

__all__ = [
    "Catalog",
    "Criterion",
    "Scenario",
    "ScenarioRow",
    "group_of",
    "groups",
    "load_release",
    "load_scenarios",
    "scenario_names",
    "scenario_rows",
]
