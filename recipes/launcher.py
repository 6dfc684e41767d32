"""`autoj run RECIPE --nproc N …`: the processes of a job, started with torchrun's own agent.

The agent is torch's (`torch.distributed.run`) and lives in this process: it passes Ctrl-C on to the processes, which
then end after the step under way with a checkpoint, and ends all of them when one fails. What is added: the recipe is
checked once before anything is started, the processes are told what world to expect, and the first process's exit code
is the command's. The torchrun line that does the same by hand is printed.

It restarts nothing (`--resume` goes on with what is kept) and copies nothing to other machines: with `--nnodes`, the
same command is given on each of them.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from recipes.judge_recipes import TrainJudgeRecipe
from recipes.loading import load_recipe, parse_flags
from recipes.schema import OnPolicyRecipe, Recipe, TrainingRecipe
from rewards.errors import InputError, RunError

FLAGS = ("--nproc", "--nnodes", "--rdzv", "--strategy")
"""Flags of `autoj run` that are this module's; each takes one value."""
_SHUTDOWN = 1800
"""Seconds that processes have to end after a Ctrl-C: a step, and a checkpoint of a large model."""


@dataclass(frozen=True, slots=True)
class World:
    """What is to be started."""

    nproc: int
    """Processes on each machine."""
    nnodes: int = 1
    """Machines."""
    rdzv: str | None = None
    """HOST:PORT where several machines meet: the first machine, and a free port on it."""
    strategy: str | None = None
    """Instead of the recipe's `launch.strategy`."""

    @property
    def processes(self) -> int:
        """In all."""
        return self.nproc * self.nnodes


def split_flags(flags: Sequence[str]) -> tuple[World | None, list[str]]:
    """The world that is asked for, None without --nproc, and the other flags as they were.

    Raises InputError for a flag without its value, a number that is none, or flags that do not go together.
    """
    given, rest, waiting = {}, [], list(flags)
    while waiting:
        flag = waiting.pop(0)
        name, equals, value = flag.partition("=")
        if name not in FLAGS:
            rest.append(flag)
            continue
        if not equals and (not waiting or waiting[0].startswith("--")):
            raise InputError(f"expected a value after {name}, got none")
        given[name] = value if equals else waiting.pop(0)
    if not given:
        return None, rest
    return _world(given), rest


def _world(given: dict[str, str]) -> World:
    if "--nproc" not in given:
        raise InputError(f"expected --nproc N (processes on each machine) with {', '.join(given)}, found none")
    world = World(
        nproc=_number("--nproc", given["--nproc"]),
        nnodes=_number("--nnodes", given.get("--nnodes", "1")),
        rdzv=given.get("--rdzv"),
        strategy=given.get("--strategy"),
    )
    if (world.nnodes > 1) != (world.rdzv is not None):
        raise InputError(
            "expected --nnodes above 1 and --rdzv HOST:PORT together (the first machine and a free port on it, the "
            f"same on every machine), got --nnodes {world.nnodes} and --rdzv {world.rdzv}"
        )
    return world


def _number(flag: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"expected a number of at least 1 after {flag}, got {text!r}")
    return int(text)


def launch_flags(name: str, flags: Sequence[str], world: World) -> list[str]:
    """The recipe's flags for every process: what was given, and the world to expect.

    Raises InputError when the recipe cannot be used, does not train, or names another number of processes.
    """
    settings = parse_flags(flags).get("launch")
    if isinstance(settings, dict) and settings.get("processes", world.processes) != world.processes:
        raise InputError(
            f"expected --launch.processes {world.processes}, as --nproc and --nnodes make it, got "
            f"{settings['processes']}; leave it out"
        )
    recipe = load_recipe(name, flags)
    if not isinstance(recipe, TrainJudgeRecipe | TrainingRecipe | OnPolicyRecipe):
        raise InputError(f"a {recipe.recipe} recipe trains nothing and runs on one process; leave --nproc out")
    told = [*flags, f"--launch.processes={world.processes}"]
    if world.strategy is not None:
        told.append(f"--launch.strategy={world.strategy}")
    _check_machine(load_recipe(name, told), world)
    return told


def _check_machine(recipe: Recipe, world: World) -> None:
    """Refuse once what every process would refuse."""
    from rewards.training.distributed import check_machine

    if isinstance(recipe, TrainJudgeRecipe | TrainingRecipe | OnPolicyRecipe):
        check_machine(recipe.launch, here=world.nproc)


def torchrun_arguments(world: World, command: Sequence[str]) -> list[str]:
    """What torchrun is called with to start `command` (an autoj verb with its arguments) as this world."""
    meet = (
        ["--standalone"]
        if world.rdzv is None
        else ["--rdzv_backend", "c10d", "--rdzv_endpoint", world.rdzv, "--rdzv_id", "autoj"]
    )
    size = ["--nnodes", str(world.nnodes), "--nproc_per_node", str(world.nproc)]
    return [*size, *meet, "--shutdown_timeout", str(_SHUTDOWN), "-m", "recipes.cli", *command]


def launch(name: str, flags: Sequence[str], world: World, *, switches: Sequence[str] = ()) -> int:
    """Run a recipe as a world of processes; returns the exit code of the first process of this machine.

    switches: --resume or --clean, handed on. Raises InputError before anything is started, RunError when the machines
    do not meet.
    """
    told = launch_flags(name, flags, world)
    arguments = torchrun_arguments(world, ["run", name, *told, *switches])
    print(f"torchrun {shlex.join(arguments)}", file=sys.stderr)  # noqa: T201 - what is started, to start it by hand
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // world.nproc)))
    return _run_agent(arguments)


def _run_agent(arguments: Sequence[str]) -> int:
    import logging

    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousConnectionError, RendezvousTimeoutError
    from torch.distributed.run import parse_args, run

    # The processes say themselves what went wrong; the agent's table of processes and its tracebacks hide it.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        run(parse_args(list(arguments)))  # type: ignore[no-untyped-call]  # torch leaves both untyped
    except ChildFailedError as error:
        return exit_code({rank: failure.exitcode for rank, failure in error.failures.items()})
    except SignalException:
        return 1  # the first process has said that it stopped, and what is kept
    except (RendezvousConnectionError, RendezvousTimeoutError) as error:
        raise RunError(
            f"the machines did not meet: {error}. Check --rdzv (the same HOST:PORT on all, reachable from all) and "
            "--nnodes"
        ) from error
    return 0


def exit_code(failures: dict[int, int]) -> int:
    """The command's exit code: that of the lowest rank that ended by itself, else 1 (a negative one is a signal)."""
    return next((code for _, code in sorted(failures.items()) if code > 0), 1)
