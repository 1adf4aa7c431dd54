"""A list of classes, such as `--analyses EpsCurve,Corruptions --analyses.EpsCurve.points 17`."""

from typing import Any

from toughen.catalog import folded
from toughen.cli.asked import BARE, NOTHING, Asked
from toughen.cli.values import as_yaml
from toughen.errors import InputError, did_you_mean


def entries(layers: list[Asked]) -> list[Asked]:
    """What is asked of each entry; the last layer that names entries says which there are.

    On the command line they are names with commas between them, or a YAML list; in a file a list of names, or of
    class_path and init_args. Settings of an entry are asked for under its name.

    Raises:
        InputError: not a list, or settings of an entry that is not in it.
    """
    named = next((asked for asked in reversed(layers) if asked.value is not NOTHING), None)
    found = [] if named is None else _listed(named)
    for asked in layers:
        for name, within in asked.inside.items():
            own = [entry for entry in found if folded(str(entry.value)) == folded(name)]
            if not own:
                known = [str(entry.value) for entry in found if isinstance(entry.value, str)]
                hint = (
                    did_you_mean(name, known) if known else f"name it with --{within.place[2:].rpartition('.')[0]} too"
                )
                raise InputError(f"{within.place}: {name} is not in the list; {hint}")
            own[0].inside.update(within.inside)
    return found


def _listed(asked: Asked) -> list[Asked]:
    value: Any = asked.value
    if asked.is_text and isinstance(value, str):
        value = as_yaml(value, asked.place) if value.startswith("[") else value.split(",")
        value = [each.strip() if isinstance(each, str) else each for each in value if each != ""]
    if value is BARE or not isinstance(value, list):
        came = "nothing" if value is BARE else repr(value)
        raise InputError(f"{asked.place}: expected names with commas between them, got {came}")
    return [Asked(asked.place, each) for each in value]
