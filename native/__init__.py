"""The layer every function carries: media, jobs, objects, and the flow that joins them. README.md is the map."""
