"""Jobs, assets and keys: Postgres is the only truth, Redis only saves work. Needs nothing of the rest of `native` but errors."""
