"""Images of one's own by where they are."""

from pathlib import Path
from typing import Any

from toughen.data.source import DataSource
from toughen.settings.build import build
from toughen.settings.given import Given
from toughen.settings.signature import REQUIRED, Setting


def images_at(path: str | Path, **settings: Any) -> DataSource:
    """The source of the images at a path, as `--data photos` means it on the command line.

    A folder with a folder a class is an `ImageFolder`, one of `save_to_disk` a `HuggingFace`, one of tar or Parquet
    shards a `WebDataset` or a `Parquet`, and a table a `Manifest`.

    Args:
        path: the folder or table; text may also be the name of a known data set, which a `Path` never is.
        **settings: those of that source, such as size=64.

    Raises:
        InputError: nothing is there, or an unknown setting.
    """
    alone = isinstance(path, Path) and len(path.parts) == 1
    given = {"class_path": f"./{path}" if alone else str(path), "init_args": settings}
    found: DataSource = build(Setting("data", DataSource, REQUIRED), [Given(("data",), "data", given)], ("data",))
    return found
