"""Every batch belongs to exactly one shard."""

import pytest

from toughen.errors import InputError
from toughen.evaluation import Shard


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_share_the_batches_out(count: int):
    shards = [Shard(number, count) for number in range(1, count + 1)]
    for batch in range(20):
        assert sum(shard.takes(batch) for shard in shards) == 1
    sizes = [sum(shard.takes(batch) for batch in range(20)) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


def test_read_and_written():
    assert Shard.parse("2/3") == Shard(2, 3)
    assert str(Shard.parse(" 10 / 12 ")) == "10/12"


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "1/3/4", "-1/3", ""])
def test_what_is_no_shard_is_refused(text: str):
    with pytest.raises(InputError, match=r"shard: expected i/n with i from 1 to n, such as 1/4 to 4/4"):
        Shard.parse(text)
