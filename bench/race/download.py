"""Fetches an address into a file in pieces of 8 KiB, as no-code-architects-toolkit fetches its sources: `python download.py URL FILE`."""

import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1]) as answer, open(sys.argv[2], "wb") as file:
    while piece := answer.read(8192):
        file.write(piece)
