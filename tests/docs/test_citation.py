"""CITATION.cff has what the format asks for and says what the package says of itself."""

import tomllib
from pathlib import Path

import yaml

import toughen

ROOT = Path(__file__).parents[2]


def test_the_citation_is_that_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["version"] == toughen.__version__
    assert cited["authors"] == project["authors"]
    assert (cited["title"], cited["license"]) == (project["name"], project["license"])
    assert cited["abstract"] == project["description"]
    assert cited["keywords"] == project["keywords"]
    # Required by version 1.2.0 of the format.
    assert cited["cff-version"] == "1.2.0" and cited["message"] and cited["type"] == "software"
