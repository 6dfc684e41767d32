"""What a response is asked for: 58 scenarios in 8 groups, each with a description and criteria."""

from judge_training.scenarios.names import group_of, groups, scenario_names

__all__ = ["group_of", "groups", "scenario_names"]
