"""Scenario names, the criteria that ship, and the loader of both catalogs."""

from __future__ import annotations

import pytest

from judge_training.scenarios import group_of, groups, scenario_names
from rewards.errors import InputError


def test_58_scenarios_in_8_groups():
    assert len(scenario_names()) == len(set(scenario_names())) == 58
    sizes = {group: len(scenario_names(group)) for group in groups()}
    assert list(sizes.values()) == [3, 3, 5, 5, 9, 10, 12, 11]
    assert all(group_of(name) == group for group in groups() for name in scenario_names(group))


@pytest.mark.parametrize(
    ("typo", "meant"), [("writting_email", "writing_email"), ("Code Generation", "code_generation")]
)
def test_unknown_scenario_names_the_nearest(typo: str, meant: str):
    with pytest.raises(InputError, match=f"did you mean.*{meant}"):
        group_of(typo)


def test_unknown_name_far_from_all_points_to_the_list():
    with pytest.raises(InputError, match="autoj scenarios"):
        group_of("zzzzzz")
    with pytest.raises(InputError, match="NLP Tasks"):
        scenario_names("nlp task")
