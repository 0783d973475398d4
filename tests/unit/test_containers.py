"""One list of containers, wherever it is written."""

from typing import get_args

from cli import options
from gateway import schemas
from native import names
from native.media import containers, edit, forms, plan, subtitles, tags


def test_every_list_names_the_same_containers():
    """What may be asked for is what the contract says, what the shell offers and what every table of the engine knows."""
    known = set(get_args(edit.Container))

    assert set(schemas.OUTPUT["properties"]["container"]["enum"]) == known
    assert set(names.CONTENT_TYPES) == set(options.CONTAINERS.values()) == known
    for table in (containers.OF, forms.HOLDS, plan.VIDEO_IN, subtitles.HOLDS, tags.KEEPS):
        assert set(table) == known
