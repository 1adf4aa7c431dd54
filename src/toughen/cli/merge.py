"""Join the shards of an evaluation to one result and report."""

from toughen.cli.parser import Parser

EXAMPLES = """examples:
  toughen merge runs/arr
  toughen merge machine-1/arr machine-2/arr --out runs/arr-evaluated

Each shard is made by `toughen evaluate ... --shard i/n`.
"""


def parser() -> Parser:
    """The command line of `commands.merge`."""
    from toughen.commands.merge import merge

    return Parser(merge, "folders", EXAMPLES)


def run(arguments: list[str]) -> int:
    """Parse, join, print the result."""
    from toughen.cli.evaluate import report

    command = parser()
    request = command.parse(arguments)
    return 0 if request is None else report(command.function(**request.settings))
