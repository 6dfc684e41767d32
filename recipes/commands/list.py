"""`autoj list`: the shipped recipes, with what each is for."""

from __future__ import annotations

from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap

from recipes.loading import recipe_head, shipped_recipes

MIN_WIDTH = 30
"""Of a description, however narrow the terminal is."""


def purpose(path: Path) -> str:
    """The first paragraph of a recipe's head."""
    return " ".join(recipe_head(path).partition("\n\n")[0].split())


def main(arguments: list[str]) -> int:
    """Print every recipe with what it is for, broken at the terminal's width."""
    if arguments:
        print("usage: autoj list")
        return 0 if arguments[0] in ("-h", "--help") else 2
    shipped = shipped_recipes()
    width = max(map(len, shipped), default=0)
    for name, path in shipped.items():
        lines = wrap(
            purpose(path), max(MIN_WIDTH, get_terminal_size().columns - width - 2), break_on_hyphens=False
        ) or [""]
        print(f"{name.ljust(width)}  " + f"\n{' ' * (width + 2)}".join(lines))
    print("\nautoj show NAME prints a recipe, autoj run NAME runs it.")
    return 0
