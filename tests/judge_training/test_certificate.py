"""The record of a certificate: what it is keyed to, where it is looked for, and what does not fit it."""

from __future__ import annotations

from pathlib import Path

import pytest

from judge_training.certificate import Measured, finish
from rewards.certificate import (
    CERTIFICATE_FILE,
    JudgeCertificate,
    Measure,
    check_certificate,
    find_certificate,
    parts_of,
)
from rewards.errors import InputError, MissingFileError
from rewards.intervals import Interval
from rewards.judges.config import DecodingSettings, JudgeSettings
from rewards.judges.load import load_generative_judge
from rewards.judges.weights_digest import folder_digest
from rewards.types import Judgment, Rating, Unparsed

SCRIPTED = JudgeSettings(backend="scripted", mode="critique")


def certificate(settings: JudgeSettings = SCRIPTED) -> JudgeCertificate:
    judge = load_generative_judge(settings)
    share = Measure(name="read", value=Interval(value=0.5, low=0.4, high=0.6, n=9))
    return JudgeCertificate(judge=judge.card, parts=parts_of(judge), made="2024-01-01", headline=(share,))


def test_it_goes_to_a_file_and_back(tmp_path: Path) -> None:
    made = certificate()
    made.save(tmp_path / "deep" / CERTIFICATE_FILE)
    assert JudgeCertificate.load(tmp_path / "deep") == made
    assert made.headline[0].text == "50.0% (40.0% to 60.0%)"
    assert check_certificate(tmp_path / "deep" / CERTIFICATE_FILE, load_generative_judge(SCRIPTED)) == made


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"mode": "direct"}, "mode"),
        ({"rule": "shorter"}, "weights"),
        ({"decoding": DecodingSettings(max_new_tokens=7)}, "decoding"),
    ],
)
def test_another_judge_is_refused_and_what_differs_is_named(
    tmp_path: Path, change: dict[str, object], named: str
) -> None:
    path = tmp_path / CERTIFICATE_FILE
    certificate().save(path)
    other = load_generative_judge(SCRIPTED.model_copy(update=change))
    with pytest.raises(InputError, match=f"another judge.*differs in: {named}\\..*autoj certify"):
        check_certificate(path, other)


def test_it_is_found_beside_the_adapter_or_the_weights_or_where_it_is_named(tmp_path: Path) -> None:
    adapter, model = tmp_path / "adapter", tmp_path / "model"
    settings = JudgeSettings(model=str(model), adapter=adapter)
    assert find_certificate(settings) is None
    for folder in (model, adapter):
        certificate().save(folder / CERTIFICATE_FILE)
        assert find_certificate(settings) == folder / CERTIFICATE_FILE
    assert find_certificate(settings, model) == model / CERTIFICATE_FILE
    with pytest.raises(MissingFileError, match="autoj certify"):
        find_certificate(settings, tmp_path / "nowhere.json")


def test_a_certificate_in_the_folder_does_not_change_the_weights_digest(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = folder_digest(tmp_path)
    certificate().save(tmp_path / CERTIFICATE_FILE)
    assert folder_digest(tmp_path) == before
    (tmp_path / "config.json").write_text("{ }")
    assert folder_digest(tmp_path) != before


def test_something_else_is_no_certificate(tmp_path: Path) -> None:
    path = tmp_path / CERTIFICATE_FILE
    path.write_text('{"judge": "good"}')
    with pytest.raises(InputError, match="expected a certificate that autoj certify wrote"):
        JudgeCertificate.load(path)


def test_the_parse_rate_leaves_out_what_was_not_asked() -> None:
    outcomes = [Rating(value=3), Rating(value=4), Unparsed(reason="no_verdict"), Unparsed(reason="empty_response")]
    found = Measured(
        judgments=[
            Judgment(id=f"rate:{n}", prompt_id="p", candidate_ids=(str(n),), outcome=outcome)
            for n, outcome in enumerate(outcomes)
        ]
    )
    finish(found)
    assert found.headline[0].value.n == 3
    assert found.headline[0].value.value == pytest.approx(2 / 3)
    assert found.sheets[0].title == "Certificate"
