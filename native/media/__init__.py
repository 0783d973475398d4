"""The FFmpeg layer: no network, no database, no clock but the deadline it is given. README.md is the map."""
