"""How a judge is asked and read: templates, rendering, parsing, and the file that travels with a checkpoint."""
