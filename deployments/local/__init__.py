"""The whole stack as ordinary processes of one user: no root, no Docker, one data directory. `stack` is its face."""
