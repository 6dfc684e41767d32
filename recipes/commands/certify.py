"""`autoj certify`: measure one judge and write its certificate, which jobs that train on its rewards ask for.

`--dry-run` (with `--probe N`, `--rate TOKENS_PER_SECOND`, `--devices N`, `--json`) prints what that would cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import tyro
from pydantic import Field

from recipes.commands.evaluate import asking
from recipes.machine import machine_of
from rewards.certificate import CERTIFICATE_FILE, JudgeCertificate, parts_of
from rewards.columns import ColumnMap
from rewards.judges.base import CompareItem, RateItem
from rewards.judges.config import JudgeSettings, Settings

if TYPE_CHECKING:
    from judge_training.certificate import Measured
    from rewards.judges.generative import GenerativeJudge

PAGE = "certificate.html"


class CertifyArguments(Settings):
    """Measure a judge: agreement and consistency, reading, attacks, speed; write judge_certificate.json and a page.

    --dry-run prints what it would be asked and what that costs, and writes nothing.
    """

    out: Path
    """Folder of the certificate, its page and the judge's answers; started again it goes on where it stopped."""
    judge: JudgeSettings = JudgeSettings()
    """Who is measured; a certificate is of exactly these weights, protocol, mode and decoding."""
    eval_p: Path | None = None
    """testdata_pairwise.jsonl of the AUTO-J release."""
    pairs: Path | None = None
    """Pairs with people's labels."""
    pairs_columns: ColumnMap = ColumnMap()
    """Names of their columns, where they are not the usual ones."""
    ratings: Path | None = None
    """Responses with reference ratings."""
    ratings_columns: ColumnMap = ColumnMap()
    """Names of their columns; the reference rating is ratings_columns.reward."""
    limit: int | None = Field(default=None, ge=1)
    """Use only this many pairs of a set, and the responses to this many prompts."""
    attack_responses: int = Field(default=3, ge=1)
    """Weak responses that every attack is tried on."""


@runtime_checkable
class _KnowsTurns(Protocol):
    """A backend that knows its model's chat tokens."""

    @property
    def turn_marks(self) -> tuple[str, str]: ...


def main(arguments: list[str]) -> int:
    """Certify a judge, or print what it would be asked."""
    if "--dry-run" in arguments and not {"-h", "--help"} & set(arguments):
        return _cost(arguments)
    description = CertifyArguments.__doc__
    certify(tyro.cli(CertifyArguments, args=arguments, prog="autoj certify", description=description))
    return 0


def certify(arguments: CertifyArguments) -> JudgeCertificate:
    """Ask the judge about everything given, and write what came out."""
    from judge_training.certificate import check_sets
    from judge_training.evaluation_page import write_evaluation_page
    from rewards.judges.load import load_generative_judge

    given = [one for one in (arguments.eval_p, arguments.pairs, arguments.ratings) if one is not None]
    check_sets(
        arguments.eval_p,
        arguments.pairs,
        arguments.ratings,
        pairs_columns=arguments.pairs_columns,
        ratings_columns=arguments.ratings_columns,
    )
    columns = (arguments.pairs_columns.model_dump_json(), arguments.ratings_columns.model_dump_json())
    data = asking.data_digest(given, *columns)
    # No cache: answers lie in the folder's files, and what is timed must really be asked.
    judge = load_generative_judge(arguments.judge.model_copy(update={"cache": None}))
    asking.claim_folder(arguments.out, judge.card, data, option="--out")
    found = _measured(judge, arguments)
    certificate = JudgeCertificate(
        judge=judge.card,
        parts=parts_of(judge),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        machine=machine_of(arguments.judge),
        headline=tuple(found.headline),
        judgments_per_second=found.judgments_per_second,
        details=found.details,
    )
    certificate.save(arguments.out / CERTIFICATE_FILE)
    write_evaluation_page(arguments.out / PAGE, found.sheets, about=_about(certificate, given))
    _say(certificate, arguments)
    return certificate


def _cost(words: list[str]) -> int:
    """Print what the judge would be asked for its certificate. Nothing of it is cached: its speed is measured."""
    from recipes.cost_of import estimate_items
    from recipes.dry_run_options import Options, split_options
    from recipes.show_cost import show_costs
    from recipes.stages import BUNDLED_CANDIDATES

    options, rest = split_options(words)
    given = tyro.cli(CertifyArguments, args=rest, prog="autoj certify", description=CertifyArguments.__doc__)
    sets = [*_given_sets(given), *_bundled_sets(given, BUNDLED_CANDIDATES)]
    options = options or Options()
    return show_costs([estimate_items(given.judge.model_copy(update={"cache": None}), sets, options)], options)


def _given_sets(given: CertifyArguments) -> Iterator[tuple[str, Sequence[RateItem | CompareItem]]]:
    from judge_training import eval_p, pair_sets, rated_sets

    if given.eval_p is not None:
        pairs = eval_p.take_pairs(eval_p.read_eval_p(given.eval_p), given.limit)
        yield "Eval-P", eval_p.compare_items(pairs)
    if given.pairs is not None:
        labelled = pair_sets.read_pair_set(given.pairs, columns=given.pairs_columns, limit=given.limit)
        yield "labelled pairs", pair_sets.compare_items(labelled)
    if given.ratings is not None:
        rated = rated_sets.read_rated_set(given.ratings, columns=given.ratings_columns)
        prompts = set(list(dict.fromkeys(item.prompt.id for item in rated.items))[: given.limit])
        yield "rated responses", [item for item in rated.items if item.prompt.id in prompts]


def _bundled_sets(given: CertifyArguments, path: Path) -> Iterator[tuple[str, Sequence[RateItem | CompareItem]]]:
    from judge_training import certificate as measuring
    from rewards.judges.load import find_protocol

    protocol = find_protocol(given.judge)[0]
    items = measuring.read_items(path)
    ratings, comparisons = measuring.attack_items(items, protocol, responses=given.attack_responses)
    yield "bundled ratings", items
    yield "attack ratings", ratings
    if protocol.pairwise is not None:
        yield "bundled pairs", measuring.pairs_of(items)
        yield "attack pairs", comparisons


def _measured(judge: GenerativeJudge, arguments: CertifyArguments) -> Measured:
    from judge_training import certificate as measuring
    from recipes.stages import BUNDLED_CANDIDATES

    found, limit = measuring.Measured(), arguments.limit
    answers = arguments.out / "answers"
    if arguments.eval_p is not None:
        measuring.measure_eval_p(found, judge, arguments.eval_p, answers, limit)
    if arguments.pairs is not None:
        measuring.measure_pairs(found, judge, arguments.pairs, answers, limit, arguments.pairs_columns)
    if arguments.ratings is not None:
        measuring.measure_ratings(found, judge, arguments.ratings, answers, limit, arguments.ratings_columns)
    measuring.measure_bundled(found, judge, BUNDLED_CANDIDATES)
    measuring.measure_attacks(
        found,
        judge,
        BUNDLED_CANDIDATES,
        answers,
        responses=arguments.attack_responses,
        marks=judge.backend.turn_marks if isinstance(judge.backend, _KnowsTurns) else None,
    )
    measuring.finish(found)
    return found


def _versions() -> dict[str, str]:
    from recipes.job import library_versions

    return library_versions()


def _about(certificate: JudgeCertificate, given: list[Path]) -> dict[str, str]:
    card = certificate.judge
    return {
        "judge": f"{card.name}, {'trained' if card.trained else 'not trained'} to judge",
        "digest": card.digest,
        "weights": certificate.parts.weights or "",
        "protocol": f"{card.protocol} {certificate.parts.protocol or ''}",
        "decoding": "" if certificate.parts.decoding is None else certificate.parts.decoding.model_dump_json(),
        "data": ", ".join(path.name for path in given) or "no labelled set was given",
        "made": certificate.made,
        "machine": certificate.machine,
        "versions": ", ".join(f"{name} {version}" for name, version in certificate.versions.items()),
    }


def _say(certificate: JudgeCertificate, arguments: CertifyArguments) -> None:
    for one in certificate.headline:
        print(f"{one.name}: {one.text}")
    if certificate.judgments_per_second is not None:
        print(f"judgments a second: {certificate.judgments_per_second:.2f} ({certificate.machine})")
    if not (arguments.eval_p or arguments.pairs or arguments.ratings):
        print("No labelled set was given: this says nothing about how often the judge is right.")
    print(f"certificate: {arguments.out / CERTIFICATE_FILE}\npage: {arguments.out / PAGE}")
