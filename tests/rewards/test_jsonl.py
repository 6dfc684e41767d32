import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.errors import InputError, MissingFileError, StorageError
from rewards.jsonl import AppendLog, read_records, write_records
from rewards.types import Candidate


def candidate(name: str, text: str = "x") -> Candidate:
    return Candidate(id=name, prompt_id="p", text=text)


@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=50), max_size=10), cut=st.integers(0, 400))
def test_a_file_cut_anywhere_keeps_its_whole_lines_and_goes_on(
    texts: list[str], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "c.jsonl"
    records = [candidate(str(i), text) for i, text in enumerate(texts)]
    write_records(path, records)
    data = path.read_bytes()[:cut]
    path.write_bytes(data)
    whole = data.count(b"\n")
    assert list(read_records(path, Candidate)) == records[:whole]
    with AppendLog(path) as log:
        log.write(candidate("new"))
    assert list(read_records(path, Candidate)) == [*records[:whole], candidate("new")]


def test_a_torn_tail_longer_than_a_block_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    write_records(path, [candidate("a")])
    with path.open("ab") as file:
        file.write(b"x" * 200_000)
    with AppendLog(path) as log:
        log.write(candidate("b"))
    assert [one.id for one in read_records(path, Candidate)] == ["a", "b"]


def test_a_bad_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(candidate("a").to_json() + '\n{"id": 3}\n' + candidate("b").to_json() + "\n")
    with pytest.raises(InputError, match=r"c\.jsonl, line 2: id: "):
        list(read_records(path, Candidate))


def test_no_file_is_an_error_of_both_trees(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="found none") as caught:
        list(read_records(tmp_path / "none.jsonl", Candidate))
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, InputError)


FILL = """
import resource, sys
from pathlib import Path
from rewards.errors import StorageError
from rewards.jsonl import AppendLog
from rewards.types import Candidate
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
done = 0
try:
    with AppendLog(Path(sys.argv[1])) as log:
        for i in range(100):
            log.write(Candidate(id=str(i), prompt_id="p", text="x" * 50))
            done += 1
except StorageError as error:
    print(done, error)
"""


def test_a_write_that_does_not_fit_leaves_whole_lines_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    result = subprocess.run([sys.executable, "-c", FILL, path], capture_output=True, text=True, check=True)
    count, message = result.stdout.split(" ", 1)
    kept = list(read_records(path, Candidate))
    assert [one.id for one in kept] == [str(i) for i in range(int(count))]
    assert 0 < len(kept) < 100
    assert path.read_bytes().endswith(b"\n")
    assert "free some space" in message


def test_a_failed_rewrite_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    write_records(path, [candidate("a")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(StorageError):
            write_records(path, [candidate(str(i), "y" * 50) for i in range(50)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [one.id for one in read_records(path, Candidate)] == ["a"]
