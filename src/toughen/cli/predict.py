"""Say the class of images, by a run's network."""

import csv
import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from toughen.cli.console import say
from toughen.cli.parser import Parser
from toughen.errors import InputError
from toughen.printable import one_line
from toughen.settings.signature import Setting

if TYPE_CHECKING:
    from toughen.commands.predict import Prediction

EXAMPLES = """examples:
  toughen predict runs/arr photo.jpg
  toughen predict runs/arr photos more/photo.png --csv > predictions.csv
  toughen predict hf:my-org/arr-resnet18 photos --json
"""


def parser() -> Parser:
    """The command line of `commands.predict`, with the forms of its output."""
    from toughen.commands.predict import predict

    command = Parser(predict, "run images", EXAMPLES)
    command.settings["json"] = Setting("json", bool, False, "print a JSON list in place of the table.")
    command.settings["csv"] = Setting("csv", bool, False, "print comma-separated values in place of the table.")
    return command


def run(arguments: list[str]) -> int:
    """Parse, predict, print a line an image."""
    command = parser()
    request = command.parse(arguments)
    if request is None:
        return 0
    as_json, as_csv = (request.settings.pop(name) for name in ("json", "csv"))
    if as_json and as_csv:
        raise InputError("--json and --csv: expected one of the two")
    found: list[Prediction] = command.function(**request.settings)
    if as_json:
        say(json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False))
    elif as_csv:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerows(
            [("path", "label", "probability"), *((each.path, each.label, each.probability) for each in found)]
        )
        say(text.getvalue(), end="")
    else:
        rows = [(one_line(each.path), one_line(each.label), f"{each.probability:.1%}") for each in found]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for path, label, probability in rows:
            say(f"{path:{widths[0]}}  {label:{widths[1]}}  {probability}")
    return 0
