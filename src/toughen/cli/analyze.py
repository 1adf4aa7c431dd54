"""Explain why runs withstand or do not, as the papers argue it."""

from rich.text import Text

from toughen.cli.parser import Parser
from toughen.cli.terminal import Terminal

EXAMPLES = """examples:
  toughen analyze runs/digits-smallcnn-trades
  toughen analyze runs/arat --only conflict,mixture
  toughen analyze runs/trades runs/arow runs/arat --only bound,images --images 1000
"""


def parser() -> Parser:
    """The command line of `commands.analyze`."""
    from toughen.commands.analyze import analyze

    return Parser(analyze, "runs", EXAMPLES, skip=["progress"])


def run(arguments: list[str]) -> int:
    """Parse, analyze, print a sentence an explanation."""
    command = parser()
    request = command.parse(arguments)
    if request is None:
        return 0
    console = Terminal()
    with console.status("analyzing") as status:
        told: list[str] = []

        def progress(text: str) -> None:
            if not told:  # how long it takes comes first, and stays
                console.print(text)
            told.append(text)
            status.update(Text(text))

        done = command.function(**request.settings, progress=progress)
    for name, insights in done.explanations.insights.items():
        for network, insight in insights.items():
            console.print(f"{name} ({network}): {insight.sentence}", soft_wrap=True)
    console.print(f"page: {done.page}", soft_wrap=True)
    return 0
