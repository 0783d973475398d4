"""`nve`, what people type. A client of the HTTP API like any other; only keys go straight to the database."""
