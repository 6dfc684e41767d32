"""One module a verb; each has `main(arguments) -> int | None`."""
