from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.errors import InputError, MissingFileError
from rewards.jsonl import write_records
from rewards.judges.base import JudgeCard
from rewards.page import showable
from rewards.review import ReviewedComparison, ReviewedRating
from rewards.types import Candidate, Judgment, Message, Pair, Prompt, Rating, Reward
from rl import figures
from rl.report import write_report
from rl.report_browser import CANDIDATES, PROMPTS, TEXT, browse
from rl.report_findings import UNTRAINED, findings
from rl.report_summary import summarise
from rl.results import Estimate
from rl.run_folder import RunFolder
from tests.rl.made_up_run import curve, estimate, make_run

NAMES = "found configuration stages rewards best-of-n agreement failures selection training evaluation lengths"
SECTIONS = [*NAMES.split(), "scenarios", "review", "prompts"]
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks that every element is closed in order, and gathers what the tests ask of."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.sections: dict[str, str] = {}
        self._section = ""
        self.feed(self.source)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            if name == "id":
                self.ids.append(value or "")
                if tag == "section":
                    self._section = value or ""
            if name in {"href", "src"}:
                self.links.append(value or "")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack[-1] == tag, f"</{tag}> closes {self.stack[-1:]}"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        self.sections[self._section] = self.sections.get(self._section, "") + data


def report(run: RunFolder) -> Page:
    return Page(write_report(run))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Page]:
    run = make_run(tmp_path_factory.mktemp("runs") / "full run <b>")
    return run, report(run)


def test_every_section_is_there_once_and_has_something_to_say(full: tuple[RunFolder, Page]) -> None:
    _, page = full
    assert [name for name in page.ids if name in SECTIONS] == SECTIONS
    for name in SECTIONS:
        assert "Not part of this run" not in page.sections[name], name
        assert len(page.sections[name].split()) > 10, name


def test_nothing_runs_and_nothing_is_loaded(full: tuple[RunFolder, Page]) -> None:
    _, page = full
    assert not {"script", "img", "link", "iframe", "object", "embed", "base", "form", "i-frame"} & page.tags
    assert not [a for a in page.attributes if a[1].startswith("on")]
    assert page.links and all(link.startswith("#") for link in page.links)
    style = page.source[page.source.index("<style>") : page.source.index("</style>")]
    assert "url(" not in style and "@import" not in style
    outside_text = [value for _, name, value in page.attributes if name != "aria-label" and "://" in value]
    assert outside_text == []
    assert "default-src 'none'" in page.source


def test_ids_are_unique_and_every_link_has_its_target(full: tuple[RunFolder, Page]) -> None:
    _, page = full
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_what_a_model_wrote_is_text(full: tuple[RunFolder, Page]) -> None:
    _, page = full
    shown = page.sections["prompts"]
    assert "<script>alert('x')</script> and </style></pre></details> & &lt;b&gt;" in shown
    assert "braces {response} {{ 7 * 7 }} {% if x %} ${HOME} $x^2$" in shown
    assert "onmouseover='alert(1)' <img src=http://evil.example/a.png" in shown
    assert "<b>Critique</b> of it" in shown
    assert "controls ␀␛[31m \ufffd, bidi [U+202E]gnp.exe" in shown
    assert "<i>odd</i>" in page.sections["scenarios"]
    assert not re.search("[\x00-\x08\x0b-\x1f\ud800-\udfff\uffff]", page.source)


def test_a_response_of_a_megabyte_is_cut_with_a_note(full: tuple[RunFolder, Page]) -> None:
    run, page = full
    assert f"{TEXT:,} of 1,000,000 characters are shown" in page.sections["prompts"]
    assert "m" * (TEXT + 1) not in page.source
    assert run.report.stat().st_size < 2_000_000


def test_review_rows_keep_their_reason_and_details(full: tuple[RunFolder, Page]) -> None:
    _, page = full
    review = page.sections["review"]
    assert "60 cases" in review and "high variance" in review
    assert "variance: 3.2 · why: <u>x</u>" in review


def test_the_cases_that_the_library_puts_aside_are_shown(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    asked = (Message(role="user", content="Why?"),)
    rating = ReviewedRating(
        reason="unparsed:no_verdict",
        detail="no rating",
        prompt_id="p",
        messages=asked,
        candidate_id="c1",
        response="<b>" * 999,
    )
    comparison = ReviewedComparison(
        reason="orders_disagree",
        prompt_id="p",
        messages=asked,
        first_id="c1",
        second_id="c2",
        first_response="yes",
        second_response="no",
    )
    write_records(run.review, [rating, comparison])
    review = report(run).sections["review"]
    assert "unparsed:no verdict" in review and "no rating · response: <b><b>" in review
    assert "c1" in review and "c2" in review and "first response: yes · second response: no" in review
    assert "Why?" not in review


def test_a_pair_leads_to_the_judgments_behind_it(full: tuple[RunFolder, Page]) -> None:
    run, page = full
    view = next(view for view in browse(run) if view.pairs)
    pair = view.pairs[0]
    assert all(shown for _, shown in pair.judgments)
    item = re.search(r'<li id="pair-.*?</li>', page.source, re.DOTALL)
    assert item is not None
    targets = re.findall(r'href="#(judgment-\w+)"', item.group())
    assert len(targets) == 2
    for target in targets:
        after = page.source[page.source.index(f'id="{target}"') :]
        assert "Critique" in after[:400]
    assert {"chosen", "selected"} <= set(view.candidates[pair.chosen].marks)
    assert "rejected" in view.candidates[pair.rejected].marks


def test_the_head_says_what_was_found_in_plain_words(full: tuple[RunFolder, Page]) -> None:
    _, page = full
    head = page.sections["found"]
    assert UNTRAINED in head
    assert "95% interval 38.0% to 76.0%" in head and "includes 50%: no difference is shown" in head
    assert "The best of 4 by the judge's reward is +0.735 above a random candidate" in head
    assert "preference pairs kept" in head and "the budget is 4.0%" in head
    assert "the same verdict in" in head


def test_no_secret_of_the_recipe_is_shown(full: tuple[RunFolder, Page]) -> None:
    _, page = full
    assert "hf_verysecret" not in page.source and "pw12345" not in page.source
    assert "MY_KEY" in page.sections["configuration"] and "learning_rate" in page.sections["configuration"]
    assert "2.13.0" in page.sections["configuration"]


def test_pictures_follow_the_theme_and_share_no_ids(full: tuple[RunFolder, Page]) -> None:
    _, page = full
    pictures = re.findall(r"<svg.*?</svg>", page.source, re.DOTALL)
    assert len(pictures) == 5
    for picture in pictures:
        assert "var(--" in picture and "aria-label" in picture
        assert not re.search(r"#[0-9a-fA-F]{6}\b", picture)


def _check_complete(run: RunFolder, about: Path) -> None:
    page = report(run)
    assert [name for name in page.ids if name in SECTIONS] == SECTIONS, about
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids), about


def test_files_may_be_missing_one_after_the_other(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", prompts=3)
    for path in sorted(path for path in run.path.rglob("*") if path.is_file()):
        path.unlink()
        _check_complete(run, path)


def test_any_file_may_be_the_only_one(tmp_path: Path) -> None:
    whole = make_run(tmp_path / "run", prompts=3)
    for path in sorted(path for path in whole.path.rglob("*") if path.is_file()):
        alone = tmp_path / path.name / path.relative_to(whole.path)
        alone.parent.mkdir(parents=True, exist_ok=True)
        alone.write_bytes(path.read_bytes())
        _check_complete(RunFolder(tmp_path / path.name), path)


def test_an_empty_run_says_so(tmp_path: Path) -> None:
    page = report(RunFolder(tmp_path))
    assert "holds no results yet" in page.sections["found"]
    for name in SECTIONS[1:]:
        assert "Not part of this run" in page.sections[name], name


def test_a_run_of_select_only_shows_its_pairs(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    pair = Pair(
        id="x",
        prompt_id="p",
        messages=(Message(role="user", content="Why?"),),
        chosen_id="c1",
        rejected_id="c2",
        chosen="Because.",
        rejected="No.",
        margin=2.0,
        judgment_ids=("rate:c1",),
    )
    write_records(run.pairs, [pair])
    run.manifest.write_text(json.dumps({"input": 5, "kept": 1, "dropped": {"margin_too_small": 4}}))
    page = report(run)
    assert "Why?" in page.sections["prompts"] and "rate:c1" in page.sections["prompts"]
    assert "margin too small" in page.sections["selection"] and "80.0%" in page.sections["selection"]


def test_files_that_are_empty_or_torn(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", prompts=8)
    for path in sorted(run.path.glob("*.jsonl")):
        path.write_bytes(b"")
    report(run)
    run = make_run(tmp_path / "torn", prompts=8)
    for path in sorted(run.path.glob("*.jsonl")):
        path.write_bytes(path.read_bytes()[:-20])
    assert report(run).sections["prompts"]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", prompts=3)
    run.rewards.write_text('{"kind": "reward", "value": "high"}\n')
    with pytest.raises(InputError, match=r"rewards\.jsonl, line 1"):
        write_report(run)
    assert not run.report.exists() and not list(run.path.glob("*.part"))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="expected a run folder"):
        write_report(RunFolder(tmp_path / "nothing"))


def test_many_prompts_and_candidates_are_capped_with_a_note(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    prompts = [Prompt(id=f"p{i}", messages=(Message(role="user", content="?"),)) for i in range(PROMPTS + 5)]
    write_records(run.prompts, prompts)
    last = f"p0:{CANDIDATES + 9}"
    write_records(run.candidates, (Candidate(id=f"p0:{k}", prompt_id="p0", text="x") for k in range(CANDIDATES + 10)))
    write_records(
        run.judgments,
        (
            Judgment(
                id=Judgment.rating_id(f"p0:{k}"), prompt_id="p0", candidate_ids=(f"p0:{k}",), outcome=Rating(value=3)
            )
            for k in range(CANDIDATES + 10)
        ),
    )
    pair = Pair(
        id="x",
        prompt_id="p0",
        messages=prompts[0].messages,
        chosen_id=last,
        rejected_id="p0:0",
        chosen="a",
        rejected="b",
        margin=1,
        judgment_ids=(Judgment.rating_id(last),),
    )
    write_records(run.pairs, [pair])
    page = report(run)
    assert f"{PROMPTS} of {PROMPTS + 5} prompts are shown" in page.sections["prompts"]
    assert f"{CANDIDATES + 1} of {CANDIDATES + 10} candidates are shown" in page.sections["prompts"]
    (view, *_) = browse(run)
    assert last in view.candidates and view.pairs[0].judgments == ((Judgment.rating_id(last), True),)


def test_a_trained_judge_brings_no_warning_and_a_clear_win_is_called_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", prompts=8)
    card = JudgeCard.model_validate_json(run.judge.read_bytes())
    run.judge.write_text(card.model_copy(update={"trained": True}).model_dump_json())
    summary = summarise(run)
    assert summary.evaluation is not None
    for low, high, words in [
        (0.6, 0.8, "prefers the trained policy"),
        (0.1, 0.4, "prefers the start"),
        (0.5, 0.9, "no difference"),
    ]:
        rate = Estimate(value=(low + high) / 2, low=low, high=high, n=9)
        summary.evaluation = summary.evaluation.model_copy(update={"win_rate": rate})
        found = findings(summary)
        assert all(one.tone != "warning" for one in found if one.topic != "Certificate")
        assert words in found[-1].text
    summary.evaluation = summary.evaluation.model_copy(update={"win_rate": None})
    assert "No comparison of the policies was decided" in findings(summary)[-1].text


def test_what_a_judge_warns_of_stands_beside_it_as_text(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", prompts=2)
    card = JudgeCard.model_validate_json(run.judge.read_bytes())
    said = ("the server said: <script>alert(1)</script>", "{{ 7 * 7 }} & more")
    run.judge.write_text(card.model_copy(update={"warnings": said}).model_dump_json())
    page = report(run)
    assert all(one in page.sections["configuration"] for one in said)
    assert "script" not in page.tags


def test_lengths_and_rewards_that_go_together_correlate(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    pairs = [(p, k) for p in range(20) for k in range(4)]
    write_records(run.candidates, (Candidate(id=f"{p}:{k}", prompt_id=f"{p}", text="x" * (k + 1)) for p, k in pairs))
    write_records(
        run.rewards, (Reward(candidate_id=f"{p}:{k}", prompt_id=f"{p}", value=100 * p + k) for p, k in pairs)
    )
    rewards = summarise(run).rewards
    assert rewards is not None and rewards.length_correlation is not None
    assert rewards.length_correlation.value == pytest.approx(1.0)


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0], [0.0, 1e9, -1e-9]])
def test_histograms_of_few_or_equal_values(values: list[float]) -> None:
    assert "<svg" in figures.reward_histogram(values)


@pytest.mark.parametrize("n", [1, 2, 16, 64])
def test_best_of_n_pictures(n: int) -> None:
    assert "<svg" in figures.best_of_n(curve(n))


def test_other_pictures() -> None:
    assert "<svg" in figures.rating_bars([(5.0, 3)])
    assert "<svg" in figures.rating_bars([(k / 2, k) for k in range(2, 60)])
    long = figures.Line("loss", {step: 1.0 / (step + 1) for step in range(20_000)})
    picture = figures.training_curves("0", "Training & <b>", [long, figures.Line("kl", {0: None, 1: 2.0})])
    assert len(picture) < 100_000 and "Training &amp; &lt;b&gt;" in picture
    assert "<svg" in figures.interval_bar("w", "Win", estimate(0.5, 0.5), 0.5, "no difference")


@given(st.text(alphabet=st.characters(codec=None)))
def test_anything_is_showable(text: str) -> None:
    shown = showable(text)
    shown.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", shown)
