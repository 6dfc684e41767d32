"""Joining a Ray cluster, and asking actors for answers: what judging and sampling on many machines share.

Items go in as JSON in chunks and answers come back as JSON as they are done, in any order. Ray starts between
`min_actors` and `max_actors`, starts a dead one again and gives its chunk to another; what was under way is done
again.
ray is imported inside functions (extra `ray`).
"""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

from rewards.errors import InputError, MissingExtraError
from rewards.judges.config import RaySettings


def need_ray(what: str) -> None:
    """Raise MissingExtraError when the package is not there."""
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError(f"{what} needs the package ray: run `pip install 'autoj[ray]'`")


def join(settings: RaySettings) -> None:
    """Connect to the cluster, or start one on this machine; nothing when this process is connected already.

    Raises InputError when the cluster cannot be reached.
    """
    import ray

    if ray.is_initialized():
        return
    try:
        ray.init(address=settings.address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError) as error:
        raise InputError(
            f"could not connect to the Ray cluster at {settings.address}: {str(error).splitlines()[0]}. Check its "
            "address (`ray start --head` prints it), or leave it out to start one here"
        ) from error


def answers(settings: RaySettings, asker: type[Any], given: tuple[Any, ...], lines: Sequence[str]) -> Iterator[str]:
    """The answers to items (each as JSON).

    asker: a class that is made from `given` once in every actor, and called with {"item": lines}, gives {"answer":
    lines}, as many or others.
    """
    if not lines:
        return
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    join(settings)
    DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its plans and hints break up the progress bar
    blocks = math.ceil(len(lines) / settings.chunk)
    found = ray.data.from_items([{"item": line} for line in lines], override_num_blocks=blocks).map_batches(
        asker,
        batch_size=settings.chunk,
        batch_format="numpy",
        compute=ActorPoolStrategy(min_size=settings.min_actors, max_size=settings.max_actors),
        fn_constructor_args=given,
        num_cpus=settings.cpus,
        num_gpus=settings.gpus,
    )
    for row in found.iter_rows():
        yield str(row["answer"])
