"""Put a run on the Hugging Face hub, with its model card."""

from toughen.cli.console import say
from toughen.cli.parser import Parser

EXAMPLES = """examples:
  toughen push runs/arr my-org/arr-resnet18 --dry_run
  toughen push runs/arr my-org/arr-resnet18 --private --license apache-2.0 --formats onnx
"""


def parser() -> Parser:
    """The command line of `commands.push`."""
    from toughen.commands.push import push

    return Parser(push, "run repo", EXAMPLES)


def run(arguments: list[str]) -> int:
    """Parse, upload, say what lies where."""
    command = parser()
    request = command.parse(arguments)
    if request is None:
        return 0
    pushed = command.function(**request.settings)
    width = max(map(len, pushed.files))
    for name, size in pushed.files.items():
        say(f"  {name:{width}}  {size:>13,} bytes")
    if pushed.url is None:
        say(f"\n{pushed.card}\nnothing was uploaded (--dry_run): these files would go to {pushed.repo}")
        return 0
    say(f"uploaded: {pushed.url}")
    say(f'read it:  toughen.load("hf:{pushed.repo}")')
    return 0
