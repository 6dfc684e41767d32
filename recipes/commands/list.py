"""`autoj list`: the shipped recipes, with what each is for."""

from __future__ import annotations

from recipes.loading import recipe_head, shipped_recipes


def main(arguments: list[str]) -> int:
    """Print one line a recipe."""
    if arguments:
        print("usage: autoj list")
        return 0 if arguments[0] in ("-h", "--help") else 2
    shipped = shipped_recipes()
    width = max(map(len, shipped), default=0)
    for name, path in shipped.items():
        print(f"{name.ljust(width)}  {(recipe_head(path).splitlines() or [''])[0]}")
    print("\nautoj show NAME prints a recipe, autoj run NAME runs it.")
    return 0
