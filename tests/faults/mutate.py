"""Mutations of files: of their bytes, and of what they hold, by format. All draw from one generator."""

import csv
import io
import json
import math
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from safetensors.numpy import load, save

DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
VALUES = (
    None, True, False, 0, -1, 1, 2.5, 10**15, 2**63, 2**64, -(10**30), 10**400, 1e308, math.nan, math.inf, -math.inf,
    "", "x", "../../../etc/passwd", "/dev/zero", "\x1b[31mred", "[/b]", "\u202e", "\x00", "9" * 5000, "x" * 100_000,
    "os.system", "8/0", "1e999", [], {}, [None], {"": None}, [[]], {"class_path": "os.system"}, {"a": {"a": {}}}, DEEP,
)  # fmt: skip
"""What no file of ours says where it is not meant."""
COLUMNS: tuple[Callable[[int], pa.Array], ...] = (
    lambda n: pa.nulls(n),
    lambda n: pa.array(["x"] * n),
    lambda n: pa.array([b"\xff"] * n),
    lambda n: pa.array([10**15] * n),
    lambda n: pa.array([-1] * n),
    lambda n: pa.array([math.nan] * n),
    lambda n: pa.array([None, *[1] * (n - 1)][:n]),
    lambda n: pa.array([[1]] * n),
    lambda n: pa.array([{"bytes": b"no image", "path": "x"}] * n),
    lambda n: pa.array([{"bytes": None}] * n, pa.struct([("bytes", pa.binary())])),
    lambda n: pa.array([True] * n),
    lambda n: pa.array([0] * n, pa.timestamp("s")),
    lambda n: pa.array([2**64 - 1] * n, pa.uint64()),
)
ARRAYS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda a: a.reshape(-1),
    lambda a: a.reshape(-1)[:0],
    lambda a: np.zeros((), a.dtype),
    lambda a: a[None],
    lambda a: a.T.copy(),
    lambda a: a.astype(np.float64) * math.nan,
    lambda a: a.astype(np.float64) * 1e308,
    lambda a: np.full_like(a, -1 if a.dtype.kind in "if" else 255),
    lambda a: np.full(a.shape, 10**15),
    lambda a: a.astype(np.bool_),
    lambda a: a.astype(np.float16),
    lambda a: a.astype(np.uint64),
    lambda a: np.repeat(a.reshape(1, -1), 3, 0),
    lambda a: np.zeros((0, 0, 0, 0), a.dtype),
)


def of_bytes(content: bytes, random: Random) -> bytes:
    """Cut short, bits turned, noise put in or over, a piece lost or doubled, numbers at their ends."""
    data, place = bytearray(content), random.randrange(len(content) + 1)
    length = random.choice((1, 2, 4, 8, 64, 1000))
    kind = random.randrange(8)
    if kind == 0:
        return content[: random.choice((0, 1, place, max(0, len(content) - 1)))]
    if kind in (1, 2):
        for _ in range(1 if kind == 1 else random.randrange(1, 50)):
            if data:
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    elif kind == 3:
        data[place:place] = random.randbytes(length)
    elif kind == 4:
        data[place : place + length] = random.randbytes(length)
    elif kind == 5:
        del data[place : place + length]
    elif kind == 6:
        data[place:place] = data[max(0, place - length) : place] * random.choice((1, 2, 100))
    else:
        data[place : place + min(length, 8)] = random.choice((b"\xff", b"\0", b"\x7f")) * min(length, 8)
    return bytes(data)


def of_tree(content: Any, random: Random) -> Any:
    """Plain data with one to three of its values replaced, left out, renamed or doubled."""
    content = json.loads(json.dumps(content))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        places = list(_places(content))
        if not places:
            return random.choice(VALUES)
        holder, key = random.choice(places)
        kind = random.randrange(10)
        if kind < 7:
            holder[key] = deepcopy(random.choice(VALUES))  # it may be put into itself later on
        elif kind == 7:
            del holder[key]
        elif isinstance(holder, dict):
            holder[random.choice(("", "x", "class_path", "\x1b[2J", "a.b"))] = holder.pop(key)
        else:
            holder += [holder[key]] * random.choice((1, 1, 1000))
    return content if random.randrange(20) else random.choice(VALUES)


def _places(value: Any) -> Any:
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, dict | list):
            keys = list(each) if isinstance(each, dict) else range(len(each))
            yield from ((each, key) for key in keys)
            pending += [each[key] for key in keys]


def of_json(content: bytes, random: Random) -> bytes:
    """A JSON file with another tree; now and then one that is nested deeply."""
    if random.randrange(100) == 0:
        return b"[" * random.choice((1000, 100_000))
    tree = of_tree(json.loads(content), random)
    try:
        return json.dumps(tree).encode()
    except ValueError:  # whole numbers of more digits than Python writes
        return b"1" * 5000


def of_yaml(content: bytes, random: Random) -> bytes:
    """A YAML file with another tree, or with tags, anchors and aliases."""
    kind = random.randrange(12)
    lines = content.decode().splitlines()
    if kind == 0:
        bomb = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
        bomb += [f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]" for i in range(9)]
        return "\n".join([*lines, *bomb]).encode()
    if kind == 1:
        return random.choice(
            (b"[" * 10_000, b"a: " * 5000, b"- " * 5000, b"{a: " * 5000, b"&a [*a]", b"a: &a {b: *a}", b"? " * 3000)
        )
    if kind == 2:
        tag = random.choice(
            ("!!int x", "!!bool x", "!!timestamp x", "!!binary x", "!!python/object/apply:os.system [x]", "!!float x",
             "!!set {a}", "2001-99-99", "1:99:99", "0x", "0b2", "*nothing", "<<: [1]", "1e400", "!!omap [a: 1]")
        )  # fmt: skip
        place = random.randrange(len(lines))
        lines[place] = f"{lines[place].partition(':')[0]}: {tag}"
        return "\n".join(lines).encode()
    try:
        return yaml.safe_dump(of_tree(yaml.safe_load(content), random), sort_keys=False).encode()
    except (ValueError, RecursionError):
        return b"epochs: " + b"1" * 5000


def of_csv(content: bytes, random: Random) -> bytes:
    """A CSV file with another cell or header."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    row = random.choice(rows)
    row[random.randrange(len(row))] = str(random.choice(("", "x", "nan", "inf", "1e999", "-1", "1" * 5000, "\x1b[2J")))
    if random.randrange(4) == 0:
        row += ["1"] * random.choice((1, 1000))
    if random.randrange(4) == 0:
        del rows[random.randrange(len(rows))]
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()


def of_parquet(content: bytes, random: Random) -> bytes:
    """A table with another column, other rows, or another text about itself."""
    table = pq.read_table(io.BytesIO(content))
    column = random.randrange(table.num_columns)
    name, kind = table.column_names[column], random.randrange(10)
    if kind < 5:
        table = table.set_column(column, name, random.choice(COLUMNS)(table.num_rows))
    elif kind == 5:
        table = table.remove_column(column)
    elif kind == 6:
        renamed = [random.choice(("", "x", "index", "\x1b")) if each == name else each for each in table.column_names]
        table = table.rename_columns(renamed)
    elif kind == 7:
        table = random.choice((table.slice(0, 0), table.slice(0, 1), pa.concat_tables([table, table])))
    else:
        about = {}
        for key, text in (table.schema.metadata or {b"huggingface": b"{}"}).items():
            about[key] = of_json(text, random) if random.randrange(3) else of_bytes(text, random)
        table = table.replace_schema_metadata(random.choice((about, about, about, None)))
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def _arrays(arrays: dict[str, np.ndarray], random: Random) -> dict[str, np.ndarray]:
    name = random.choice(sorted(arrays))
    kind = random.randrange(8)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[random.choice(("x", "../../x", "image", "labels"))] = arrays.pop(name)
    else:
        arrays[name] = np.ascontiguousarray(random.choice(ARRAYS)(arrays[name]))
    return arrays


def of_safetensors(content: bytes, random: Random) -> bytes:
    """Tensors of other types, shapes, values or names."""
    return save(_arrays(load(content), random))


def of_npz(content: bytes, random: Random) -> bytes:
    """Arrays of other types, shapes, values or names, packed or not."""
    with np.load(io.BytesIO(content)) as archive:
        arrays = _arrays(dict(archive), random)
    if random.randrange(8) == 0:
        arrays[random.choice(sorted(arrays) or ["image"])] = np.array([{}, None], dtype=object)
    file = io.BytesIO()
    random.choice((np.savez, np.savez_compressed))(file, **arrays)
    return file.getvalue()


STRUCTURED: dict[str, Callable[[bytes, Random], bytes]] = {
    ".json": of_json,
    ".yaml": of_yaml,
    ".csv": of_csv,
    ".parquet": of_parquet,
    ".safetensors": of_safetensors,
    ".npz": of_npz,
}


def mutated(content: bytes, ending: str, random: Random) -> bytes:
    """The content of a file with this ending, mutated: by its bytes, or by what it holds."""
    if ending in STRUCTURED and random.randrange(2):
        with np.errstate(all="ignore"):
            return STRUCTURED[ending](content, random)
    return of_bytes(content, random)
