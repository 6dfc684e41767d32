"""A trained adapter as it ships: 16-bit numbers, its configuration and its protocol, and nothing else.

    python recipes/judge/pack_adapter.py runs/judge-mini/trained_judge rewards/judges/autoj_mini

The weights' digest becomes another one by it, so the certificate is made afterwards, of what ships.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from rewards.errors import MissingFileError
from rewards.protocol.spec import PROTOCOL_FILE

WEIGHTS = "adapter_model.safetensors"


def pack(adapter: Path, out: Path) -> int:
    """Write the three files into `out`; returns the size of the weights in bytes. Raises MissingFileError."""
    import torch
    from safetensors.torch import load_file, save_file

    missing = [name for name in (WEIGHTS, "adapter_config.json", PROTOCOL_FILE) if not (adapter / name).is_file()]
    if missing:
        raise MissingFileError(f"expected a trained adapter in {adapter}, found no {', '.join(missing)} there")
    out.mkdir(parents=True, exist_ok=True)
    halves = {name: weight.to(torch.float16).contiguous() for name, weight in load_file(adapter / WEIGHTS).items()}
    save_file(halves, out / WEIGHTS, metadata={"format": "pt"})
    for name in ("adapter_config.json", PROTOCOL_FILE):
        shutil.copyfile(adapter / name, out / name)
    return (out / WEIGHTS).stat().st_size


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", type=Path, help="folder of the trained adapter")
    parser.add_argument("out", type=Path, help="folder to write")
    arguments = parser.parse_args()
    sys.stdout.write(f"{pack(arguments.adapter, arguments.out):,} bytes\n")


if __name__ == "__main__":
    main()
