"""Rows of a data set on the Hugging Face hub, through `datasets.load_dataset`, which also keeps them.

Nothing is fetched unless a caller asks for a hub id. Three of the sources were published as loading scripts, which
`datasets` no longer runs: of these the hub's own conversion to parquet, or the files beside the script, are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rewards.errors import InputError

PARQUET = "refs/convert/parquet"
"""The revision in which the hub keeps its conversion of a data set."""


@dataclass(frozen=True, slots=True)
class HubPlace:
    """Where a data set lies on the hub."""

    hub_id: str
    split: str = "train"
    config: str | None = None
    revision: str | None = None
    files: str | None = None
    """A pattern of files within it, where its layout does not say what belongs to the split."""
    format: str | None = None
    """"json" or "parquet", to read its files without looking at the data set's own layout."""


def hub_rows(place: HubPlace) -> Iterator[dict[str, Any]]:
    """Every row of a split.

    Raises InputError, with what to do, when the hub cannot be reached (or the libraries are told to stay offline and
    the data set is not in their cache), when the data set is gated, and when there is no such split or file.
    """
    import datasets
    from datasets.exceptions import DatasetsError

    name, files = place.hub_id, place.files
    if place.format is not None:
        name, files = place.format, f"hf://datasets/{place.hub_id}/{place.files}"
    try:
        rows = datasets.load_dataset(
            name,
            place.config,
            split=place.split,
            revision=place.revision,
            data_files=None if files is None else {place.split: files},
        )
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise InputError(
            f"expected to load {place.hub_id} from the hub, got {type(error).__name__}: {error}. Check the connection "
            "and, for a gated data set, log in and accept its terms; or download its files and give their path"
        ) from error
    yield from rows
