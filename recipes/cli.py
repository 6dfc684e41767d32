"""The `autoj` command: one verb, one module under `recipes.commands`.

This module imports nothing heavy, and a verb's module is imported only when it is called, so that help and
`autoj check` answer at once. Exit codes: 0 done, 1 the run failed, 2 the input cannot be used.
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from rewards.errors import AutojError, InputError

VERBS = {
    "run": "run a recipe: autoj run recipes/quickstart.yaml [--key value ...]",
    "check": "check recipes without running them",
    "list": "list the shipped recipes",
    "sample": "draw candidates from a policy",
    "judge": "rate responses and compare pairs",
    "select": "keep the best candidates, make preference pairs, put cases aside for a person",
    "evaluate-judge": "measure a judge against human labels",
    "certify": "measure a judge and write the certificate that training asks for",
    "export": "save a judge as a model of its own, with protocol, certificate and model card",
    "import-protocol": "learn the released AUTO-J's prompts from your copy of its training file",
    "inspect": "draw judgments to read, stratified",
    "report": "write report.html of a run folder again",
    "show": "show a run, a recipe or a protocol in the terminal",
    "collect": "have a teacher model write judgments to train a judge on",
    "scenarios": "list the scenarios and their criteria",
    "classify-scenarios": "label prompts with their scenario; train and measure the classifier",
    "judge-data": "make the data set that a judge is trained on, with its card",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"autoj {version('autoj')}")
        return 0
    _share_cores()
    # Where it is installed, peft imports it, and it says at once which kernels it could not fetch.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    _quieten_followers()
    return _guarded(arguments[0], arguments[1:])


def _share_cores() -> None:
    """Let torch's threads sleep while they wait, not spin: must be set before torch is loaded.

    With another job on the same cores, spinning threads slow both down several times over.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _quieten_followers() -> None:
    """Of several processes, only the first one shows progress; must be set before tqdm and datasets are loaded."""
    if not _is_first():
        os.environ.update(TQDM_DISABLE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")


def _is_first() -> bool:
    """Whether this is the only process of a job, or its first."""
    return os.environ.get("RANK", "0") == "0"


def _guarded(verb: str, arguments: list[str]) -> int:
    """Run one verb and turn what goes wrong into a message and an exit code."""
    try:
        if verb not in VERBS:
            near = difflib.get_close_matches(verb, VERBS, n=1)
            raise InputError(
                f"unknown command {verb!r}" + (f"; did you mean {near[0]}?" if near else "; see autoj --help")
            )
        module = import_module(f"recipes.commands.{verb.replace('-', '_')}")
        return int(module.main(arguments) or 0)
    except InputError as error:
        print(f"autoj {verb}: {error}", file=sys.stderr)
        return 2
    except AutojError as error:
        print(f"autoj {verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if _is_first():
            print(
                f"\nautoj {verb}: stopped. Everything finished is kept; the same command with --resume goes on.",
                file=sys.stderr,
            )
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(
            f"autoj {verb}: {error.strerror or error}: {error.filename or ''}. What was finished is kept.",
            file=sys.stderr,
        )
        return 1


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb.ljust(width)}  {text}" for verb, text in VERBS.items()]
    return (
        "autoj: a generative judge as the reward of an RLHF pipeline\n\n"
        "usage: autoj COMMAND [OPTIONS]     autoj COMMAND --help\n\n" + "\n".join(lines)
    )


def _leave(code: int) -> None:
    """End the process. One of several that only trained along ends without unwinding.

    It has nothing left to write, and on a busy machine threads of the libraries' C++ have been seen to abort it there,
    which torchrun takes for a failure of the job.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if os.environ.get("RANK", "0") != "0":
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _leave(main())
