"""Best-of-n and pairs of real candidates with GPT-4's ratings: the numbers of recipes/filter/README.md."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from recipes.filter.prepare_qlora import prepare
from rewards.jsonl import write_records
from rewards.manifest import Count
from rewards.pairing import make_pairs
from rewards.scored_table import ScoredTable
from rewards.select import select
from rewards.select_settings import PairSettings, SelectSettings

pytestmark = pytest.mark.shared_data
UNUSABLE = {"empty_response": 8, "duplicate_text": 5, "unscored:not_rated": 2}


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "qlora-vicuna80"


@pytest.fixture(scope="module")
def scored(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ScoredTable:
    path = tmp_path_factory.mktemp("qlora") / "scored.jsonl"
    assert write_records(path, prepare(folder)) == 1575
    return ScoredTable.from_file(path)


def test_best_of_35(scored: ScoredTable):
    selection = select(scored, SelectSettings())
    manifest = selection.manifest
    assert manifest.rows == Count(input=1575, kept=45, dropped={"not_best": 1515, **UNUSABLE})
    assert manifest.prompts == Count(input=45, kept=45)
    assert manifest.mean_reward == pytest.approx(5.597, abs=5e-4)
    assert manifest.mean_reward_kept == pytest.approx(9.15)
    rows = list(selection.rows())
    assert fmean(item.reward for item in rows) == pytest.approx(9.15)
    assert all(item.messages[0].content and item.text.strip() for item in rows)


def test_pairs(scored: ScoredTable):
    found = make_pairs(scored, PairSettings(min_margin=1.0, length_matched=0.5))
    assert found.manifest.prompts == Count(input=45, kept=13, dropped={"length_mismatch": 32})
    found = make_pairs(scored, PairSettings(method="best_random", min_margin=1.0))
    assert found.manifest.rows == Count(input=1575, kept=90, dropped={"not_paired": 1470, **UNUSABLE})
    assert fmean(pair.margin for pair in found.rows()) == pytest.approx(4.122, abs=5e-4)


def test_selected_by_one_order_and_rated_by_the_other(folder: Path, tmp_path: Path):
    again = {row["candidate_id"]: row["reward"] for row in prepare(folder, places=["2"]) if row["reward"] is not None}
    rows = [row for row in prepare(folder, places=["1"]) if row["candidate_id"] in again]
    write_records(tmp_path / "first.jsonl", rows)
    every = SelectSettings(method="top_k", k=35)
    best, usable = (
        select(ScoredTable.from_file(tmp_path / "first.jsonl"), settings).rows()
        for settings in (SelectSettings(), every)
    )
    of_prompt: dict[str, list[float]] = {}
    for item in usable:
        of_prompt.setdefault(item.prompt_id, []).append(again[item.candidate_id])
    assert fmean(again[item.candidate_id] for item in best) == pytest.approx(8.667, abs=5e-3)
    assert fmean(fmean(ratings) for ratings in of_prompt.values()) == pytest.approx(4.810, abs=5e-3)
