"""Scored candidates as one table, from records or from a file larger than memory.

Design decision. The table is read twice. First `ranking` streams over all of it and keeps only numbers (the
row, hashes of the ids and of the text, the reward); every choice is made on those. Then `texts` streams over
it again and returns the rows that were chosen, with their texts, a bounded number of bytes at a time. So memory
grows by some 50 bytes a row and not by the length of the responses. Lists of records become the same table,
and there is no second implementation.

The row number joins the two readings of one file and decides nothing; every row that comes back is checked
against the hash of its ids. Hashes have 64 bits: among ten million rows the chance that any two different ids
(or texts) are taken for equal is about 3 in a million.

It does not read the prompts and responses of other people's formats, and it does not decide anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import polars as pl
from pydantic import JsonValue

from rewards.errors import InputError, MissingFileError
from rewards.types import Candidate, Prompt, Reward, Unscored

MESSAGES: Final = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
SCHEMA: Final[dict[str, pl.DataType]] = {
    "prompt_id": pl.String(),
    "candidate_id": pl.String(),
    "text": pl.String(),
    "reward": pl.Float64(),
    "unscored": pl.String(),
    "scenario": pl.String(),
    "source": pl.String(),
    "token_count": pl.Int64(),
    "variance": pl.Float64(),
    "judgment_ids": pl.List(pl.String),
    "messages": MESSAGES,
}
"""Columns of the table. `prompt` (a string, or a list of messages) may stand for `messages`."""
REQUIRED: Final = ("prompt_id", "candidate_id", "text", "reward")

_PIECE_ROWS = 250_000
"""Rows of a Parquet file asked for at once: polars reads ahead by row groups, however large they are."""
_TEXT_BYTES = 64 * 1024 * 1024
"""Texts held at once while rows are fetched."""
_MAX_ID_LENGTH = 1024


def row_key(prompt_id: str, candidate_id: str, seed: int) -> int:
    """64-bit key of a candidate: its identity, and with the seed its place among equal rewards.

    Candidates need distinct ids within their prompt only. The hash is BLAKE2b, so that the same seed breaks
    ties in the same way in every version of every library.
    """
    data = f"{seed}:{len(prompt_id)}:{prompt_id}{candidate_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


class ScoredTable:
    """Candidates with their rewards; make one with `from_records` or `from_file`."""

    def __init__(self, frame: pl.LazyFrame, *, origin: str, has_messages: bool, piece_rows: int | None = None) -> None:
        self._frame = frame
        self.origin = origin
        """Where the rows come from, for messages to people."""
        self.has_messages = has_messages
        """Whether the rows carry their prompt's conversation."""
        self._piece_rows = piece_rows

    @classmethod
    def from_records(
        cls, prompts: Iterable[Prompt], candidates: Iterable[Candidate], scored: Iterable[Reward | Unscored]
    ) -> Self:
        """The table of these candidates; one without a record in `scored` counts as `unscored:not_scored`.

        Raises InputError when a reward names a candidate or a prompt that is not there, or when one candidate
        has two different rewards.
        """
        by_id = {prompt.id: prompt for prompt in prompts}
        rewards = _rewards_by_id(scored)
        rows, known = [], set()
        for candidate in candidates:
            if candidate.prompt_id not in by_id:
                raise InputError(f"candidate {candidate.id!r} answers the unknown prompt {candidate.prompt_id!r}")
            key = (candidate.prompt_id, candidate.id)
            known.add(key)
            rows.append(_row(by_id[candidate.prompt_id], candidate, rewards.get(key)))
        unknown = sorted(rewards.keys() - known)
        if unknown:
            raise InputError(
                f"expected every reward to name one of the candidates, got {len(unknown)} that do not, "
                f"the first for candidate {unknown[0][1]!r} of prompt {unknown[0][0]!r}"
            )
        frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
        return cls(frame.lazy(), origin="the records", has_messages=True)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The table in a JSONL or Parquet file, read when it is needed.

        Needs the columns prompt_id, candidate_id, text and reward (null: unscored, with the reason in the
        column `unscored`); takes scenario, source, token_count, variance, judgment_ids, and messages or prompt;
        ignores others. Raises MissingFileError and InputError.
        """
        if not path.is_file():
            raise MissingFileError(f"expected scored candidates in {path}, found no such file")
        if path.suffix in {".parquet", ".pq"}:
            return cls._from_parquet(path)
        if path.suffix in {".jsonl", ".ndjson"}:
            return cls._from_jsonl(path)
        raise InputError(f"expected a .jsonl or .parquet file of scored candidates, got {path}")

    @classmethod
    def _from_parquet(cls, path: Path) -> Self:
        frame = pl.scan_parquet(path)
        try:
            schema = frame.collect_schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(f"{path} is not a Parquet file that can be read: {error}") from error
        _require(schema.names(), path)
        columns = _columns(dict(schema), path)
        return cls(frame.select(columns), origin=str(path), has_messages=_asks(schema), piece_rows=_PIECE_ROWS)

    @classmethod
    def _from_jsonl(cls, path: Path) -> Self:
        head = _head(path)
        if not head:
            raise InputError(f"expected scored candidates in {path}, found an empty file")
        names = {name for line in head for name in line}
        _require(names, path)
        schema: dict[str, pl.DataType] = {name: SCHEMA[name] for name in SCHEMA if name in names}
        if "prompt" in names and "messages" not in names:
            schema["prompt"] = MESSAGES if any(isinstance(line.get("prompt"), list) for line in head) else pl.String()
        frame = pl.scan_ndjson(path, schema=schema)
        return cls(frame.select(_columns(schema, path)), origin=str(path), has_messages=_asks(schema))

    def ranking(self, *, seed: int) -> pl.DataFrame:
        """The table without its texts, one row a candidate, in any order.

        Columns: row, prompt, key, text (64-bit hashes), reward, length (tokens where counted, else null),
        characters, bytes, scenario, and reason (why the row cannot be used, null when it can).
        Raises InputError for ids that are missing, for NaN and infinite rewards, for a prompt id that stands for
        two different prompts, and for a file that cannot be read.
        """
        pieces = [self._collect(piece.select(_ranking_columns(seed))) for piece in self._pieces()]
        ranking = pl.concat(pieces)
        self._check(ranking)
        return ranking.drop("id_problem", "prompt_text", "finite")

    def texts(self, wanted: pl.DataFrame, *, seed: int) -> Iterator[pl.DataFrame]:
        """The rows of `wanted` with all their columns, in chunks, sorted by `place`.

        `wanted` has the columns row, key and bytes of a ranking, and `place`, a number: rows with equal places
        come in the same chunk. Raises InputError when the file is no longer the one that was ranked.
        """
        for bucket in _buckets(wanted.sort("place"), _TEXT_BYTES):
            first, last = int(bucket["row"].min() or 0), int(bucket["row"].max() or 0)  # type: ignore[arg-type]
            rows = bucket["row"].implode()
            found = pl.concat(
                self._collect(piece.filter(pl.col("row").is_in(rows)).with_columns(_compact(seed)))
                for piece in self._pieces(first, last)
            )
            chunk = bucket.drop("bytes").join(found, on=["row", "key"], how="inner").sort("place", maintain_order=True)
            if chunk.height != bucket.height:
                raise InputError(
                    f"{self.origin} changed while it was being read; start again when nothing writes to it"
                )
            yield chunk

    def _pieces(self, first: int = 0, last: int | None = None) -> Iterator[pl.LazyFrame]:
        """The rows from first to last with their numbers, in pieces that bound how far polars reads ahead."""
        if self._piece_rows is None:
            length = None if last is None else last - first + 1
            yield self._frame.slice(first, length).with_row_index("row", offset=first)
            return
        rows = int(self._collect(self._frame.select(pl.len())).item())
        stop = rows if last is None else last + 1
        for start in range(first, max(stop, first + 1), self._piece_rows):
            length = max(0, min(self._piece_rows, stop - start))
            yield self._frame.slice(start, length).with_row_index("row", offset=start)

    def _collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Run a query on the streaming engine, with errors of the input told by line."""
        try:
            return frame.collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(f"{self.origin} cannot be read: {_explain(self.origin) or error}") from error

    def _check(self, ranking: pl.DataFrame) -> None:
        """Refuse what would make every later number wrong."""
        for bad, what in (
            (ranking.filter("id_problem"), f"a prompt_id and a candidate_id of 1 to {_MAX_ID_LENGTH} characters"),
            (ranking.filter(~pl.col("finite")), "finite rewards (null for a candidate without one)"),
        ):
            if bad.height:
                raise InputError(
                    f"{self.origin}: expected {what}, got {bad.height} rows that differ, "
                    f"the first at row {int(bad['row'].min() or 0) + 1}"  # type: ignore[arg-type]
                )
        if self.has_messages:
            spread = ranking.group_by("prompt").agg(
                pl.col("row").min(), two=pl.col("prompt_text").min() != pl.col("prompt_text").max()
            )
            mixed = spread.filter("two")
            if mixed.height:
                raise InputError(
                    f"{self.origin}: expected one prompt for each prompt_id, got {mixed.height} ids with different "
                    f"prompts, the first at row {int(mixed['row'].min() or 0) + 1}"  # type: ignore[arg-type]
                )


def _rewards_by_id(scored: Iterable[Reward | Unscored]) -> dict[tuple[str, str], Reward | Unscored]:
    found: dict[tuple[str, str], Reward | Unscored] = {}
    for item in scored:
        key = (item.prompt_id, item.candidate_id)
        if found.setdefault(key, item) != item:
            raise InputError(f"expected one reward for candidate {item.candidate_id!r}, got two that differ")
    return found


def _row(prompt: Prompt, candidate: Candidate, item: Reward | Unscored | None) -> tuple[Any, ...]:
    """One row in the order of SCHEMA."""
    return (
        candidate.prompt_id,
        candidate.id,
        candidate.text,
        item.value if isinstance(item, Reward) else None,
        None if isinstance(item, Reward) else item.reason if item else "not_scored",
        prompt.scenario,
        candidate.source,
        candidate.token_count,
        item.variance if isinstance(item, Reward) else None,
        list(item.judgment_ids) if item else [],
        [{"role": message.role, "content": message.content} for message in prompt.messages],
    )


def _asks(names: Iterable[str]) -> bool:
    return not {"messages", "prompt"}.isdisjoint(names)


def _require(names: Iterable[str], path: Path) -> None:
    present = set(names)
    missing = [name for name in REQUIRED if name not in present]
    if missing:
        raise InputError(
            f"{path}: expected the columns {', '.join(REQUIRED)}, missing {', '.join(missing)}; "
            f"found {', '.join(sorted(present)) or 'none'}"
        )


def _columns(schema: Mapping[str, pl.DataType], path: Path) -> list[pl.Expr]:
    """The columns of SCHEMA from those of a file; what is not there is null."""
    found = []
    for name, dtype in SCHEMA.items():
        if name in schema:
            found.append(pl.col(name).cast(dtype))
        elif name == "messages" and "prompt" in schema:
            found.append(_prompt_as_messages(schema["prompt"], path))
        else:
            found.append(pl.lit(None, dtype=dtype).alias(name))
    return found


def _prompt_as_messages(dtype: pl.DataType, path: Path) -> pl.Expr:
    if isinstance(dtype, pl.List):
        return pl.col("prompt").cast(MESSAGES).alias("messages")
    if isinstance(dtype, pl.String):
        turn = pl.struct(pl.lit("user").alias("role"), pl.col("prompt").alias("content"))
        return pl.when(pl.col("prompt").is_not_null()).then(pl.concat_list(turn)).alias("messages")
    raise InputError(f"{path}: expected the column prompt to hold text or lists of messages, got {dtype}")


def _head(path: Path, lines: int = 100) -> list[dict[str, JsonValue]]:
    """The first objects of a JSONL file."""
    found: list[dict[str, JsonValue]] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            problem = _line_problem(line)
            if problem:
                raise InputError(f"{path}, line {number}: {problem}")
            found.append(json.loads(line))
            if len(found) == lines:
                break
    return found


def _line_problem(line: bytes) -> str | None:
    """What is wrong with a line of a JSONL file, if anything."""
    try:
        value = json.loads(line)
    except ValueError as error:
        torn = not line.endswith(b"\n")
        return "the last line is torn; remove it" if torn else f"expected a JSON object: {error}"
    if not isinstance(value, dict):
        return f"expected a JSON object, got {type(value).__name__}"
    reward = value.get("reward")
    number = isinstance(reward, int | float) and not isinstance(reward, bool)
    if reward is not None and not (number and -1e308 < reward < 1e308):
        return f"expected reward to be a finite number or null, got {reward!r:.80}"
    for name in ("messages", "judgment_ids"):
        if not isinstance(value.get(name, []), list | None):
            return f"expected {name} to be a list, got {type(value[name]).__name__}"
    return None


def _explain(origin: str) -> str | None:
    """The first line of a JSONL file that cannot be read (polars does not say which it was)."""
    path = Path(origin)
    if path.suffix not in {".jsonl", ".ndjson"} or not path.is_file():
        return None
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            problem = _line_problem(line) if line.strip() else None
            if problem:
                return f"line {number}: {problem}"
    return None


def _keys(seed: int) -> pl.Expr:
    def keys(ids: pl.Series) -> pl.Series:
        pairs = zip(ids.struct.field("prompt_id"), ids.struct.field("candidate_id"), strict=True)
        return pl.Series(
            [row_key(prompt or "", candidate or "", seed) for prompt, candidate in pairs], dtype=pl.UInt64
        )

    columns = pl.struct("prompt_id", "candidate_id")
    return columns.map_batches(keys, return_dtype=pl.UInt64, is_elementwise=True).alias("key")


def _ranking_columns(seed: int) -> list[pl.Expr]:
    ids = [pl.col("prompt_id"), pl.col("candidate_id")]
    bad_id = [column.is_null() | ~column.str.len_chars().is_between(1, _MAX_ID_LENGTH) for column in ids]
    prompt_bytes = pl.col("messages").list.eval(pl.element().struct.field("content").str.len_bytes()).list.sum()
    text_bytes = pl.col("text").str.len_bytes().fill_null(0)
    return [
        pl.col("row"),
        pl.col("prompt_id").hash(1).alias("prompt"),
        _keys(seed),
        pl.struct("prompt_id", "text").hash(2).alias("text"),
        pl.col("reward"),
        pl.col("token_count").cast(pl.UInt32, strict=False).alias("length"),
        pl.col("text").str.len_chars().fill_null(0).alias("characters"),
        (text_bytes + prompt_bytes.fill_null(0)).alias("bytes"),
        pl.col("scenario").cast(pl.Categorical),
        _reason().cast(pl.Categorical).alias("reason"),
        (bad_id[0] | bad_id[1]).alias("id_problem"),
        pl.col("messages").hash(3).alias("prompt_text"),
        pl.col("reward").is_finite().fill_null(True).alias("finite"),
    ]


def _reason() -> pl.Expr:
    """Why a row cannot be used; null when it can."""
    text = pl.col("text")
    unscored = pl.concat_str(pl.lit("unscored:"), pl.col("unscored").fill_null("no_reward"))
    return (
        pl.when(text.is_null() | (text.str.strip_chars() == ""))
        .then(pl.lit("empty_response"))
        # polars reads a lone surrogate as NUL, and no tokenizer's text holds either.
        .when(text.str.contains("\x00", literal=True))
        .then(pl.lit("unreadable_text"))
        .when(pl.col("reward").is_null())
        .then(unscored)
    )


def _compact(seed: int) -> list[pl.Expr]:
    """The key, and strings copied: filtered ones would keep the whole text of their neighbours in memory."""
    strings = [name for name, dtype in SCHEMA.items() if isinstance(dtype, pl.String)]
    return [_keys(seed), *((pl.col(name) + "") for name in strings)]


def _buckets(wanted: pl.DataFrame, limit: int) -> Iterator[pl.DataFrame]:
    """`wanted`, sorted by place, cut between places into parts of about `limit` bytes."""
    if wanted.height == 0:
        return
    ends = wanted.group_by("place", maintain_order=True).agg(pl.col("bytes").cast(pl.Int64).sum(), rows=pl.len())
    number = ((ends["bytes"].cum_sum() - ends["bytes"]) // limit).alias("bucket")
    start = 0
    for size in ends.with_columns(number).group_by("bucket", maintain_order=True).agg(pl.col("rows").sum())["rows"]:
        yield wanted.slice(start, size)
        start += size
