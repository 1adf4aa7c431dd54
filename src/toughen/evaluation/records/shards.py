"""An evaluation divided over processes or machines."""

import re
from dataclasses import dataclass

from toughen.errors import InputError


@dataclass(frozen=True)
class Shard:
    """One of several parts: every `count`-th batch, from the `number`-th on (counted from 1).

    >>> [batch for batch in range(8) if Shard.parse("2/3").takes(batch)]
    [1, 4, 7]
    """

    number: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def takes(self, batch: int) -> bool:
        """Whether the batch of this number (from 0) belongs to it."""
        return batch % self.count == self.number - 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `2/3`: the second of three.

        Raises:
            InputError: not two numbers, or a first one outside 1 .. second.
        """
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise InputError(f"shard: expected i/n with i from 1 to n, such as 1/4 to 4/4, got {text!r}")
        return cls(int(found[1]), int(found[2]))
