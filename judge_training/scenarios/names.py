"""The 58 scenario names and their 8 groups, as a table in code.

The names and the membership are AUTO-J's (Li et al., ICLR 2024, arXiv 2310.05470), kept so that ratings,
quotas and per-group reports can be compared with published ones; with this membership the released verdicts
give the published per-group agreement on Eval-P. The table is code and not read from the YAML beside it, so
that looking up a group costs no parsing; a test holds the two together. It deliberately says nothing about
what a scenario asks of a response: that is the catalog's part.
"""

from __future__ import annotations

from difflib import get_close_matches

from rewards.errors import InputError

_GROUPS: dict[str, tuple[str, ...]] = {
    "Summarization": ("post_summarization", "text_summarization", "note_summarization"),
    "Exam Questions": (
        "math_reasoning",
        "solving_exam_question_with_math",
        "solving_exam_question_without_math",
    ),
    "Code": (
        "code_generation",
        "code_simplification",
        "code_correction_rewriting",
        "code_to_code_translation",
        "explaining_code",
    ),
    "Rewriting": (
        "text_simplification",
        "language_polishing",
        "instructional_rewriting",
        "text_correction",
        "paraphrasing",
    ),
    "Creative Writing": (
        "creative_writing",
        "counterfactual",
        "writing_song_lyrics",
        "writing_social_media_post",
        "writing_personal_essay",
        "writing_blog_post",
        "writing_advertisement",
        "writing_marketing_materials",
        "writing_presentation_script",
    ),
    "Functional Writing": (
        "functional_writing",
        "writing_product_description",
        "writing_news_article",
        "writing_biography",
        "writing_legal_document",
        "writing_technical_document",
        "writing_job_application",
        "writing_scientific_paper",
        "writing_cooking_recipe",
        "writing_email",
    ),
    "General Communication": (
        "asking_how_to_question",
        "seeking_advice",
        "verifying_fact",
        "open_question",
        "analyzing_general",
        "explaining_general",
        "brainstorming",
        "roleplay",
        "planning",
        "chitchat",
        "recommendation",
        "value_judgement",
    ),
    "NLP Tasks": (
        "ranking",
        "text_to_text_translation",
        "data_analysis",
        "classification_identification",
        "title_generation",
        "question_generation",
        "reading_comprehension",
        "keywords_extraction",
        "information_extraction",
        "topic_modeling",
        "others",
    ),
}
_GROUP_OF: dict[str, str] = {name: group for group, names in _GROUPS.items() for name in names}


def groups() -> tuple[str, ...]:
    """The names of the 8 groups, in the paper's order."""
    return tuple(_GROUPS)


def scenario_names(group: str | None = None) -> tuple[str, ...]:
    """The 58 scenario names, group by group, or those of one group.

    Raises InputError for a group that does not exist.
    """
    if group is None:
        return tuple(_GROUP_OF)
    if group not in _GROUPS:
        raise unknown_name("group", group, groups())
    return _GROUPS[group]


def group_of(name: str) -> str:
    """The group that a scenario belongs to. Raises InputError, with the nearest names, for an unknown one."""
    if name not in _GROUP_OF:
        raise unknown_name("scenario", name, scenario_names())
    return _GROUP_OF[name]


def unknown_name(kind: str, got: str, known: tuple[str, ...]) -> InputError:
    """The error for a name that is not among those known, with up to three that look like it."""
    folded = {name.casefold(): name for name in known}
    near = [folded[match] for match in get_close_matches(got.casefold().replace(" ", "_"), folded, n=3, cutoff=0.5)]
    if not near:
        near = [folded[match] for match in get_close_matches(got.casefold(), folded, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else "`autoj scenarios` lists the names"
    return InputError(f"expected the name of a {kind}, got {got!r}: {hint}")
