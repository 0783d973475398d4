"""The rows of `nve bench cut`, one module a family. Each has `rows(world)`."""
