"""`autoj evaluate-judge rivals`: the judges of a file on Eval-P, one after another, in one table.

The file names each judge and says how it is asked (`judge:`, as in a recipe) or where its verdicts lie
(`predictions:` and `swapped:`). One that cannot be asked is named in the notes and the others go on.
"""

from __future__ import annotations

import gc
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from recipes.commands.evaluate import asking
from recipes.commands.evaluate.showing import Shown, show
from rewards.documents import write_json
from rewards.errors import AutojError, InputError, MissingFileError, RunError
from rewards.judges.config import JudgeSettings, Settings

if TYPE_CHECKING:
    from judge_training.eval_p import EvalP, EvalPPair
    from rewards.judges.rivals.tie_threshold import TieThreshold


class RivalEntry(Settings):
    """One judge of the file."""

    judge: JudgeSettings | None = None
    """How it is asked."""
    tie_data: Path | None = None
    """Labelled pairs, other than Eval-P's, on which a scalar judge's tie threshold is searched."""
    predictions: Path | None = None
    """Its verdicts in the data's order, or its comparisons, in place of asking it."""
    swapped: Path | None = None
    """Its verdicts with the two responses exchanged."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.judge is None) == (self.predictions is None):
            raise ValueError("expected either judge or predictions")
        if self.swapped is not None and self.predictions is None:
            raise ValueError("expected swapped only beside predictions")
        if self.tie_data is not None and (self.judge is None or self.judge.rival.kind != "scalar"):
            raise ValueError("expected tie_data only with a judge of rival.kind scalar")
        return self


class RivalsArguments(Shown):
    """Several judges on Eval-P in one table, beside the published numbers."""

    data: Path
    """testdata_pairwise.jsonl of the AUTO-J release."""
    judges: Path
    """YAML file: a name for each judge, and under it `judge:` with its settings, or `predictions:` and `swapped:`."""
    output: Path = Path("runs/rivals")
    """Folder with a folder for each judge's answers; started again it goes on where it stopped."""
    limit: int | None = Field(default=None, ge=1)
    """Ask about this many pairs only (every scenario in turn)."""


def rivals(arguments: RivalsArguments) -> None:
    """Run it; raises RunError at the end when a judge could not be asked."""
    from judge_training.eval_p import read_eval_p, take_pairs
    from judge_training.rivals_table import RivalsResult, rivals_sheet

    entries = read_entries(arguments.judges)
    pairs = take_pairs(read_eval_p(arguments.data), arguments.limit)
    measured: dict[str, EvalP] = {}
    failed: dict[str, str] = {}
    thresholds: dict[str, TieThreshold] = {}
    for name, entry in entries.items():
        folder = arguments.output / folder_name(name)
        try:
            if entry.judge is not None and entry.tie_data is not None:
                thresholds[name] = _search(entry.judge, entry.tie_data, arguments.data, folder)
            measured[name] = _measure(entry, thresholds.get(name), pairs, arguments.data, folder)
        except AutojError as error:
            failed[name] = str(error)
            print(f"{name}: {error}", file=sys.stderr)
        gc.collect()
    result = RivalsResult(measured=measured, failed=failed, tie_thresholds=thresholds)
    show(arguments, [rivals_sheet(result)], result, {"data": str(arguments.data), "judges": str(arguments.judges)})
    if failed:
        raise RunError(f"{len(failed)} of {len(entries)} judges could not be asked: {', '.join(failed)}")


def read_entries(path: Path) -> dict[str, RivalEntry]:
    """The judges of a file by name; raises InputError with everything that is wrong with it."""
    if not path.is_file():
        raise MissingFileError(f"expected a YAML file of judges at {path}, found none")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = TypeAdapter(dict[str, RivalEntry]).validate_python(content)
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)]
        raise InputError(f"{path}: {len(lines)} problem(s)\n" + "\n".join(lines)) from error
    if not entries:
        raise InputError(f"{path}: expected at least one judge, got none")
    folders = [folder_name(name) for name in entries]
    if len(set(folders)) < len(folders):
        raise InputError(f"{path}: expected names that differ in letters and digits, got {', '.join(entries)}")
    return entries


def folder_name(name: str) -> str:
    """Of a judge's answers."""
    return re.sub(r"[^\w]+", "-", name.lower()).strip("-") or "judge"


def _measure(
    entry: RivalEntry, threshold: TieThreshold | None, pairs: list[EvalPPair], data: Path, folder: Path
) -> EvalP:
    from judge_training.eval_p import compare_items, evaluate_comparisons, evaluate_eval_p

    if entry.predictions is not None:
        return evaluate_eval_p(data, entry.predictions, entry.swapped)
    settings = entry.judge or JudgeSettings()
    if threshold is not None:
        rival = settings.rival.model_copy(update={"tie_threshold": threshold.threshold})
        settings = settings.model_copy(update={"rival": rival})
    asking.compare(settings, compare_items(pairs), folder, asking.data_digest([data]))
    return evaluate_comparisons(pairs, folder / asking.COMPARISONS)


def _search(settings: JudgeSettings, labelled: Path, data: Path, folder: Path) -> TieThreshold:
    """The tie threshold on other labelled pairs, kept in the folder for these settings and pairs."""
    from rewards.inputs import read_pairs
    from rewards.judges.load import load_judge
    from rewards.judges.rivals.scalar import ScalarJudge
    from rewards.judges.rivals.tie_threshold import TieThreshold, search_tie_threshold
    from rewards.types import Unparsed

    if asking.data_digest([labelled]) == asking.data_digest([data]):
        raise InputError(f"expected tie_data other than the pairs that are measured, got {labelled}, the same pairs")
    kept = folder / f"tie_threshold_{asking.data_digest([labelled], settings.model_dump_json())[:16]}.json"
    if kept.is_file():
        return TieThreshold.model_validate_json(kept.read_bytes())
    judge = load_judge(settings)
    if not isinstance(judge, ScalarJudge):
        raise InputError("expected a scalar judge to search a tie threshold for, got another kind")
    rows = read_pairs(labelled).records
    scored = zip(judge.differences([row.item for row in rows]), rows, strict=True)
    known = [(one, row.label) for one, row in scored if not isinstance(one, Unparsed) and row.label is not None]
    found = search_tie_threshold([one for one, _ in known], [label for _, label in known])
    write_json(kept, found)
    return found
