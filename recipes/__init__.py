"""What people run: the `autoj` command, typed recipes, and the recipes themselves."""
