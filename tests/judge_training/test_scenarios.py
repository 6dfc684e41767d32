"""Scenario names, the criteria that ship, and the loaders of both catalogs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from judge_training.scenarios import (
    Catalog,
    group_of,
    groups,
    load_release,
    load_scenarios,
    scenario_names,
    scenario_rows,
)
from rewards.errors import InputError, MissingFileError
from rewards.jsonl import read_records

SHIPPED = Path(sys.modules[load_scenarios.__module__].__file__ or "").parent


# Names


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


@pytest.mark.shared_data
def test_membership_reproduces_the_published_per_group_agreement(shared_data: Path):
    published = {
        "Summarization": (45.83, 73.61),
        "Exam Questions": (38.89, 69.44),
        "Code": (47.50, 75.83),
        "Rewriting": (49.17, 74.17),
        "Creative Writing": (59.72, 87.04),
        "Functional Writing": (61.67, 81.67),
        "General Communication": (55.21, 92.36),
        "NLP Tasks": (57.58, 86.36),
    }
    data = shared_data / "auto-j" / "data"
    rows = zip(
        read_records(data / "test" / "testdata_pairwise.jsonl", dict),
        read_records(data / "outputs" / "pairwise_example_output.jsonl", dict),
        read_records(data / "outputs" / "pairwise_exchange_example_output.jsonl", dict),
        strict=True,
    )
    agree, same, total = Counter[str](), Counter[str](), Counter[str]()
    for row, first, second in rows:
        group = group_of(row["scenario"])
        consistent = first["output"] == {0: 1, 1: 0, 2: 2}[second["output"]]
        total[group] += 1
        same[group] += consistent
        agree[group] += consistent and first["output"] == row["label"]
    got = {g: (round(100 * agree[g] / total[g], 2), round(100 * same[g] / total[g], 2)) for g in groups()}
    assert got == published


# The catalog that ships


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_scenarios()


def test_shipped_catalog_has_58_scenarios_8_groups_332_criteria(catalog: Catalog):
    assert [scenario.name for scenario in catalog.scenarios if scenario.description] == [
        scenario.name for scenario in catalog.scenarios
    ]
    assert {scenario.name: scenario.group for scenario in catalog.scenarios} == {
        name: group_of(name) for name in scenario_names()
    }
    assert catalog.groups == groups()
    assert len(catalog.criteria) == catalog.distinct_criteria() == 332


def test_every_criterion_is_used_has_a_type_and_says_something(catalog: Catalog):
    used = {criterion for scenario in catalog.scenarios for criterion in scenario.criteria}
    assert used == {criterion.id for criterion in catalog.criteria}
    assert {criterion.type for criterion in catalog.criteria} == {"basic", "content", "format", "style"}
    for criterion in catalog.criteria:
        assert len(criterion.text) >= 45, criterion.id
        assert criterion.text.endswith("."), criterion.id
        assert not criterion.text.casefold().startswith(criterion.name.casefold())


def test_no_text_is_written_twice(catalog: Catalog):
    """Not even nearly: no two criteria have a run of seven words in common."""
    owners = defaultdict(set)
    for criterion in catalog.criteria:
        for run in _runs(criterion.text, 7):
            owners[run].add(criterion.id)
    assert {" ".join(run): ids for run, ids in owners.items() if len(ids) > 1} == {}


def test_every_scenario_has_criteria_of_its_own_and_takes_in_a_shared_set(catalog: Catalog):
    for row in scenario_rows():
        assert row.own_criteria >= 3, row
        assert row.shared_criteria >= 6, row
        assert row.description.endswith("."), row
    assert [row.name for row in scenario_rows()] == list(scenario_names())
    names = [criterion.name for criterion in catalog.criteria_of("code_generation")]
    assert "runs correctly" in names
    assert "specification met" in names
    assert len(names) == len(set(names))


def test_catalog_goes_to_json_and_back(catalog: Catalog):
    assert Catalog.model_validate_json(catalog.to_json()) == catalog


def test_unknown_scenario_of_a_catalog_names_the_nearest(catalog: Catalog):
    with pytest.raises(InputError, match="writing_email"):
        catalog.criteria_of("writing_emails")


def test_importing_the_scenarios_brings_no_torch():
    code = (
        "import sys; from judge_training.scenarios import scenario_rows; scenario_rows();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'trl', 'polars', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=SHIPPED.parents[1]).returncode == 0


# A folder that a user wrote

GROUP = """
group: Cooking
scenarios:
  menu_planning:
    description: Put together a menu for an occasion.
    shared: [text]
    content:
      courses agree: No two courses repeat an ingredient or a texture.
"""


def _folder(path: Path, **files: str) -> Path:
    for name, text in files.items():
        (path / f"{name}.yaml").write_text(text, encoding="utf-8")
    return path


def test_a_folder_of_ones_own_takes_in_the_shipped_sets(tmp_path: Path):
    catalog = load_scenarios(_folder(tmp_path, cooking=GROUP))
    criteria = catalog.criteria_of("menu_planning")
    assert [criterion.type for criterion in criteria] == ["basic"] * 6 + ["content"]
    assert criteria[-1].id == "menu_planning/courses agree"
    assert catalog.groups == ("Cooking",)


def test_a_copy_of_the_shipped_folder_can_be_extended(tmp_path: Path):
    for path in SHIPPED.glob("*.yaml"):
        shutil.copy(path, tmp_path)
    catalog = load_scenarios(_folder(tmp_path, cooking=GROUP))
    assert len(catalog.scenarios) == 59
    assert len(catalog.criteria) == 333
    assert catalog.groups == (*groups(), "Cooking")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GROUP.replace("content:", "contents:"), "did you mean 'content'"),
        (GROUP.replace("[text]", "[txt]"), "did you mean text"),
        (GROUP.replace("menu_planning", "text"), "name of a shared set"),
        (GROUP.replace("courses agree", "c" * 81), "at most 80 characters"),
        (GROUP + "      courses agree: Once more the same name is used.\n", "stands twice"),
        (GROUP + "    style:\n      courses agree: The same name under another type.\n", "there twice"),
        (GROUP.replace("courses agree", "prose"), "'prose' is there twice"),
        (GROUP.replace("No two courses repeat an ingredient or a texture.", "Good."), "at least 20 characters"),
        (GROUP.replace("    description: Put together a menu for an occasion.\n", ""), "description: Field required"),
        (GROUP.replace("[text]", "!!python/name:os.system"), "could not determine a constructor"),
        (GROUP.replace("[text]", "!include shared.yaml"), "could not determine a constructor"),
        ("group: [", "not YAML that can be used"),
        ("group: Cooking\nscenarios: {? [a, b] : {}}", "plain key"),
        ("", "does not fit"),
        ("- " * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path: Path, text: str, message: str):
    with pytest.raises(InputError, match=message) as error:
        load_scenarios(_folder(tmp_path, cooking=text))
    assert "cooking.yaml" in str(error.value)


def test_all_misfits_are_told_at_once(tmp_path: Path):
    text = GROUP.replace("content:", "contents:").replace("description: Put", "descripton: Put")
    with pytest.raises(InputError) as error:
        load_scenarios(_folder(tmp_path, cooking=text))
    assert all(word in str(error.value) for word in ("'content'", "'description'", "Field required"))


def test_a_scenario_in_two_files_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"a\.yaml and .*b\.yaml"):
        load_scenarios(_folder(tmp_path, a=GROUP, b=GROUP))


def test_the_longest_names_still_make_an_id(tmp_path: Path):
    text = GROUP.replace("menu_planning", "m" * 80).replace("courses agree", "c" * 80)
    assert len(load_scenarios(_folder(tmp_path, cooking=text)).criteria[-1].id) == 161


def test_missing_or_empty_folder(tmp_path: Path):
    with pytest.raises(MissingFileError, match="expected a folder"):
        load_scenarios(tmp_path / "nowhere")
    with pytest.raises(InputError, match="found none"):
        load_scenarios(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"group: caf\xe9")
    with pytest.raises(InputError, match="UTF-8"):
        load_scenarios(tmp_path)


# The release

SPECIAL = """
basic-text: !include "./other_resources/scenario_criteria/basics/basic_text.yaml"
extended:
  brief:
    content: |
      Keep it brief.
    weight: 3
    type: style
"""
BASIC = "clear: {content: Be clear., weight: 5, type: basic}\n"


def _release(root: Path, special: str = SPECIAL, basic: str = BASIC) -> Path:
    folder = root / "other_resources" / "scenario_criteria"
    for name in ("specials", "basics"):
        (folder / name).mkdir(parents=True)
    _folder(folder / "specials", chitchat=special, ranking=special)
    _folder(folder / "basics", basic_text=basic)
    return folder


@pytest.mark.parametrize("from_root", [True, False])
def test_release_loads_from_its_root_or_from_the_criteria_alone(tmp_path: Path, from_root: bool):
    folder = _release(tmp_path)
    catalog = load_release(tmp_path if from_root else folder)
    assert [scenario.name for scenario in catalog.scenarios] == ["chitchat", "ranking"]
    assert catalog.scenario("ranking").shared == ("basic_text",)
    assert [(each.id, each.type, each.weight, each.text) for each in catalog.criteria_of("ranking")] == [
        ("basic_text/clear", "basic", 5, "Be clear."),
        ("ranking/brief", "style", 3, "Keep it brief."),
    ]
    assert len(catalog.criteria) == 3
    assert catalog.distinct_criteria() == 2


@pytest.mark.parametrize(
    ("special", "basic", "message"),
    [
        (SPECIAL.replace("./other", "../../other"), BASIC, "inside"),
        ('a: !include "/etc/hostname"', BASIC, "inside"),
        ('a: !include "basics/link.yaml"', BASIC, "no such file inside"),
        ('a: !include "basics/none.yaml"', BASIC, "no such file inside"),
        ("a: !include [basics/basic_text.yaml]", BASIC, "followed by a path"),
        (SPECIAL, 'again: !include "basics/basic_text.yaml"', "could not determine a constructor"),
        (SPECIAL, "just text", "expected criteria by name"),
        ("a: !!python/object/apply:os.getcwd []", BASIC, "could not determine a constructor"),
        (SPECIAL.replace("style", "flavour"), BASIC, "basic.*content.*format.*style"),
    ],
)
def test_release_reads_nothing_outside_its_folder(tmp_path: Path, special: str, basic: str, message: str):
    folder = _release(tmp_path / "copy", special, basic)
    outside = tmp_path / "outside.yaml"
    outside.write_text(BASIC, encoding="utf-8")
    (folder / "basics" / "link.yaml").symlink_to(outside)
    with pytest.raises(InputError, match=message):
        load_release(folder)


def test_no_release_there(tmp_path: Path):
    with pytest.raises(MissingFileError, match=r"specials/\*\.yaml"):
        load_release(tmp_path)


@pytest.mark.shared_data
def test_the_release_has_the_same_58_scenarios_and_counts_332(shared_data: Path):
    release = load_release(shared_data / "auto-j")
    assert {scenario.name for scenario in release.scenarios} == set(scenario_names())
    assert release.distinct_criteria() == 332


@pytest.mark.shared_data
def test_no_sentence_and_no_run_of_eight_words_is_shared_with_the_release(shared_data: Path):
    theirs = [criterion.text for criterion in load_release(shared_data / "auto-j").criteria]
    texts = [path.read_text(encoding="utf-8") for path in sorted(SHIPPED.glob("*.yaml"))]
    # The texts as YAML gives them, with descriptions, names and comments: all of what is written in the files.
    ours = [*texts, *(text for each in texts for text in _strings(yaml.safe_load(each)))]
    assert _all_runs(ours, 8) & _all_runs(theirs, 8) == set()
    assert _sentences(ours) & _sentences(theirs) == set()


def _words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.casefold())


def _runs(text: str, length: int) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


def _all_runs(texts: Iterable[str], length: int) -> set[tuple[str, ...]]:
    return {run for text in texts for run in _runs(text, length)}


def _sentences(texts: Iterable[str]) -> set[str]:
    parts = (part for text in texts for part in re.split(r"[.!?;]\s|\n\n", text))
    return {joined for part in parts if len((joined := " ".join(_words(part))).split()) >= 3}


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return [value] if isinstance(value, str) else []
