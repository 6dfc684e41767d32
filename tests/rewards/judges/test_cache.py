"""The judgment cache: what is finished stays finished, whatever kills the job."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.errors import InputError, StorageError
from rewards.judges.cache import JudgmentCache, Reading, reading_key
from rewards.types import Rating, Unparsed, UnparsedReason, Verdict, VerdictProbabilities

READING = Reading(
    outcome=Rating(value=5, expected=5.25, variance=0.5, probabilities={"5": 0.75, "6": 0.25}),
    critique="Short, but right. ünïcödé \x00",
    mass=0.5,
    prompt_tokens=3,
    new_tokens=4,
)


def test_gives_back_what_was_put(tmp_path: Path) -> None:
    verdict = Reading(
        outcome=Verdict(winner="tie", probabilities=VerdictProbabilities(first=0.25, second=0.25, tie=0.5))
    )
    failure = Reading(outcome=Unparsed(reason="no_verdict", detail="rambled"))
    with JudgmentCache(tmp_path / "folder" / "cache.sqlite") as cache:
        for key, reading in (("a", READING), ("b", verdict), ("c", failure)):
            cache.put(key, reading)
    with JudgmentCache(tmp_path / "folder" / "cache.sqlite") as cache:
        assert [cache.get(key) for key in "abcd"] == [READING, verdict, failure, None]
        assert cache.count() == 3


@pytest.mark.parametrize("reason", ["timeout", "backend_error", "prompt_too_long"])
def test_keeps_no_failure_that_may_go_away(tmp_path: Path, reason: UnparsedReason) -> None:
    with JudgmentCache(tmp_path / "cache.sqlite") as cache:
        cache.put("a", Reading(outcome=Unparsed(reason=reason)))
        assert cache.get("a") is None


@given(st.tuples(st.text(), st.text(), st.integers(0, 3)), st.tuples(st.text(), st.text(), st.integers(0, 3)))
def test_key_tells_questions_apart(one: tuple[str, str, int], other: tuple[str, str, int]) -> None:
    key = reading_key(one[0], "rate", one[1], one[2])
    assert (key == reading_key(other[0], "rate", other[1], other[2])) == (one == other)
    assert key != reading_key(one[0], "compare", one[1], one[2])


def test_refuses_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_text("this is a text file, long enough to be looked at as a header of a database\n" * 20)
    with pytest.raises(InputError, match="got a file that is not one"):
        JudgmentCache(path)
    assert path.read_text().startswith("this is a text file")


def test_refuses_a_database_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    with pytest.raises(InputError, match="another kind"):
        JudgmentCache(path)


def test_says_when_the_place_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        JudgmentCache(tmp_path / "file" / "cache.sqlite")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="check the free space and the permissions"):
        JudgmentCache(tmp_path / "folder")


def test_read_only_file_is_a_storage_error() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not pytest's, into which no other user may look
        path = Path(folder) / "cache.sqlite"
        JudgmentCache(path).close()
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        script = f"""
import os
from pathlib import Path
from rewards.errors import StorageError
from rewards.judges.cache import JudgmentCache
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    JudgmentCache(Path({str(path)!r}))
except StorageError as error:
    print(error)
"""
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=_root())
        Path(folder).chmod(0o755)
    assert "could not use the judgment cache" in done.stdout


def test_full_disk_keeps_what_was_put_before(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    script = f"""
import resource, signal
from pathlib import Path
from rewards.errors import StorageError
from rewards.judges.cache import JudgmentCache, Reading
from rewards.types import Rating
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
cache = JudgmentCache(Path({str(path)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
for number in range(1000):
    try:
        cache.put(str(number), Reading(outcome=Rating(value=1), critique="x" * 5000))
    except StorageError as error:
        print(number)
        break
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=_root())
    kept = int(done.stdout)
    assert 0 < kept < 1000
    with JudgmentCache(path) as cache:
        assert all(cache.get(str(number)) is not None for number in range(kept))


def test_several_threads_share_one_cache(tmp_path: Path) -> None:
    with JudgmentCache(tmp_path / "cache.sqlite") as cache:

        def fill(start: int) -> None:
            for number in range(start, start + 25):
                cache.put(str(number), READING)

        threads = [threading.Thread(target=fill, args=(25 * number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cache.count() == 100


def test_several_processes_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    script = f"""
import sys
from pathlib import Path
from rewards.judges.cache import JudgmentCache, Reading
from rewards.types import Rating
with JudgmentCache(Path({str(path)!r})) as cache:
    for number in range(100):
        cache.put(sys.argv[1] + str(number), Reading(outcome=Rating(value=1)))
"""
    jobs = [subprocess.Popen([sys.executable, "-c", script, name], cwd=_root()) for name in "abc"]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    with JudgmentCache(path) as cache:
        assert cache.count() == 300


ITEMS = 40
JOB = """
import os, sys, time
from pathlib import Path
from rewards import Candidate, GenerativeJudge, JudgmentCache, Message, Prompt, RateItem, builtin_protocol
from rewards.judges.scripted import ScriptedBackend

calls = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def reply(question):
    os.write(calls, (question.responses[0] + "\\n").encode())
    time.sleep(0.003)
    return f"A critique of {question.responses[0]}.\\n\\nRating: [[{1 + int(question.responses[0]) % 10}]]"

prompt = Prompt(id="p", messages=(Message(role="user", content="Say a number."),))
items = [RateItem(prompt=prompt, candidate=Candidate(id=f"c{n}", prompt_id="p", text=str(n))) for n in range(40)]
with JudgmentCache(Path(sys.argv[1])) as cache:
    judge = GenerativeJudge(ScriptedBackend(reply), builtin_protocol(), "critique", cache=cache, window=7)
    for judgment in judge.rate(items):
        print(judgment.to_json(), flush=True)
"""


def test_killed_anywhere_and_started_again_asks_no_finished_question_again(tmp_path: Path) -> None:
    path, log, draw = tmp_path / "cache.sqlite", tmp_path / "calls", random.Random(7)
    log.touch()
    command = [sys.executable, "-c", JOB, str(path), str(log)]
    kills = 0
    for _ in range(4):
        job = subprocess.Popen(command, cwd=_root(), stdout=subprocess.DEVNULL)
        goal = len(log.read_text().splitlines()) + draw.randint(2, 8)
        while job.poll() is None and len(log.read_text().splitlines()) < goal:
            time.sleep(0.001)
        time.sleep(draw.random() * 0.003)
        if job.poll() is None:
            job.send_signal(signal.SIGKILL)
            kills += 1
        job.wait()
        with JudgmentCache(path) as cache:
            assert cache.count() >= len(set(log.read_text().split())) - 1
    last = subprocess.run(command, cwd=_root(), capture_output=True, text=True, check=True)
    calls = Counter(log.read_text().split())
    assert kills >= 2
    assert len(last.stdout.splitlines()) == ITEMS
    assert set(calls) == {str(number) for number in range(ITEMS)}
    assert sum(calls.values()) - ITEMS <= kills, "only the call under way at each kill may be repeated"


def _root() -> Path:
    return Path(__file__).parents[3]
