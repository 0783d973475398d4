"""One file per group of commands; `add(app)` is all that the list of commands knows of it."""
