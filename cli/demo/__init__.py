"""nve demo: the clips, the way, the check."""
