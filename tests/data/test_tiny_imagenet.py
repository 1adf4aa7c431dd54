"""Real digit scans, enlarged to 64 x 64, in the folder layout of Tiny ImageNet."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from toughen.data import DataSource, Loader, Parquet, TinyImageNet, hold
from toughen.errors import DataError, ToughenWarning

IDS = ["n02124075", "n01443537", "n01629819"]  # as in the original, not sorted
DIGITS = dict(zip(IDS, (2, 0, 1), strict=True))
WORDS = """n00001740\tentity
n01443537\tgoldfish, Carassius auratus
n01629819\tEuropean fire salamander, Salamandra salamandra
n02124075\tEgyptian cat
"""


def jpeg(scan: np.ndarray, path: Path, grey: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(scan).resize((64, 64))
    (image if grey else image.convert("RGB")).save(path, "JPEG", quality=95)


@pytest.fixture
def tree(tmp_path: Path, scans: np.ndarray, digits: np.ndarray) -> Path:
    """Four training and two test images of each of three classes."""
    root = tmp_path / "tiny-imagenet-200"
    annotations = []
    for wnid, digit in DIGITS.items():
        chosen = np.flatnonzero(digits == digit)[:6]
        for place, index in enumerate(chosen[:4]):
            jpeg(scans[index], root / "train" / wnid / "images" / f"{wnid}_{place}.JPEG", grey=place == 0)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
        for index in chosen[4:]:
            jpeg(scans[index], root / "val" / "images" / f"val_{index}.JPEG")
            annotations.append(f"val_{index}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(reversed(annotations)))
    (root / "wnids.txt").write_text("\n".join(IDS) + "\n")
    (root / "words.txt").write_text(WORDS)
    (root / "test" / "images").mkdir(parents=True)
    return root


def scan_of(image: torch.Tensor) -> np.ndarray:
    """The enlarged scan made small again, one channel."""
    grey = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")
    return np.asarray(grey.resize((8, 8), Image.Resampling.BOX)).astype(float)


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_have_the_labels_of_their_folders_or_annotations(
    tree: Path, scans: np.ndarray, digits: np.ndarray, split: str
) -> None:
    images = TinyImageNet(tree).load(split)
    assert images.shape == (3, 64, 64)
    assert images.classes == ("goldfish", "European fire salamander", "Egyptian cat")  # of the sorted ids
    assert images.name == "Tiny ImageNet"
    assert sorted(images.labels.tolist()) == [0] * (n := 4 if split == "train" else 2) + [1] * n + [2] * n
    for image, label in zip(images.images.take(torch.arange(len(images))), images.labels.tolist(), strict=True):
        # The nearest of all scans is the one it was made from; ids are sorted in the order of the digits here.
        distances = np.abs(scans - scan_of(image)).mean((1, 2))
        assert digits[distances.argmin()] == label
        assert distances.min() < 25


def test_the_parent_folder_will_do_and_a_loader_takes_it(tree: Path) -> None:
    images = hold(TinyImageNet(tree.parent).load("train"), "cpu")
    (batch,) = Loader(images, None, 12, device="cpu", shuffle=True)
    batch.check(3)
    assert isinstance(TinyImageNet(tree), DataSource)


def test_names_without_words_and_with_shared_ones(tree: Path) -> None:
    (tree / "words.txt").write_text("n01443537\tcrane, bird\nn02124075\tcrane, machine\n")
    assert TinyImageNet(tree).load("train").classes == ("crane, bird", "n01629819", "crane, machine")
    (tree / "words.txt").unlink()
    assert TinyImageNet(tree).load("test").classes == tuple(sorted(IDS))


def test_what_is_missing_is_named(tree: Path, tmp_path: Path, truncate: Callable[[Path], None]) -> None:
    with pytest.raises(DataError, match=r"no Tiny ImageNet at .*/none: expected wnids\.txt.*; found: no folder"):
        TinyImageNet(tmp_path / "none").load("train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"found: nothing\. Unpack http.*tiny-imagenet-200\.zip .*--data\.path"):
        TinyImageNet(tmp_path / "empty").load("train")
    first = tree / "train" / "n01443537" / "images"
    truncate(first / "n01443537_2.JPEG")
    with pytest.raises(DataError, match=r"n01443537_2\.JPEG is not a readable image"):
        hold(TinyImageNet(tree).load("train"), "cpu")
    annotations = tree / "val" / "val_annotations.txt"
    annotations.write_text(annotations.read_text() + "val_9999.JPEG\tn09999999\t0\t0\t1\t1\n")
    with pytest.raises(DataError, match=r"val_annotations\.txt: expected an image and its class .* got 'val_9999"):
        TinyImageNet(tree).load("test")
    annotations.write_text(annotations.read_text().replace("n09999999", "n01443537"))
    with pytest.raises(DataError, match=r"cannot read .*val_9999\.JPEG"):
        hold(TinyImageNet(tree).load("test"), "cpu")
    annotations.unlink()
    with pytest.raises(DataError, match=r"cannot read .*val_annotations\.txt: .*unpack"):
        TinyImageNet(tree).load("test")
    for image in first.iterdir():
        image.unlink()
    with pytest.raises(DataError, match=r"n01443537/images has no \*\.JPEG, but wnids\.txt names its class"):
        TinyImageNet(tree).load("train")
    (tree / "wnids.txt").write_text("\n")
    with pytest.raises(DataError, match=r"wnids\.txt is empty"):
        TinyImageNet(tree).load("train")


def test_the_hugging_face_copy_is_read_by_parquet(
    tmp_path: Path, write_shard: Callable[..., Path], scans: np.ndarray
) -> None:
    names = {"info": {"features": {"label": {"names": sorted(IDS), "_type": "ClassLabel"}}}}
    metadata = json.dumps(names).encode()
    few = [index for index in range(40) if index % 10 in (0, 1, 2) and index < 30]
    write_shard(tmp_path / "data" / "train-00000-of-00001-1359597a978bc4fa.parquet", few, metadata=metadata)
    write_shard(tmp_path / "data" / "valid-00000-of-00001-70d52db3c749a935.parquet", few[:3], metadata=metadata)
    source = Parquet(tmp_path, channels=1)
    train, test = source.load("train"), source.load("test")
    assert train.classes == test.classes == tuple(sorted(IDS))
    assert (len(train), test.labels.tolist()) == (9, [0, 1, 2])
    assert np.array_equal(test.images.take(torch.tensor([2]))[0, 0].numpy(), scans[2])


def test_no_file_vanishes_without_a_word(tree: Path, truncate: Callable[[Path], None]) -> None:
    folder = tree / "train" / "n01629819" / "images"
    Image.new("RGB", (64, 64)).save(folder / "more.png")
    with pytest.raises(DataError, match=r"1 file is not read \(1 \.png\)\n.*more\.png\n"):
        TinyImageNet(tree).load("train")
    truncate(folder / "n01629819_3.JPEG")
    with pytest.warns(ToughenWarning) as said:
        images = TinyImageNet(tree, skip_bad=True).load("train")
    assert (len(images), torch.bincount(images.labels).tolist()) == (11, [4, 3, 4])
    assert len(said) == 1 and all(name in str(said[0].message) for name in ("more.png", "n01629819_3.JPEG"))
    lines = (tree / "val" / "val_annotations.txt").read_text().splitlines(keepends=True)
    (tree / "val" / "val_annotations.txt").write_text("".join(lines[1:]))
    with pytest.raises(DataError, match=rf"1 file is not read .*\n.*{lines[0].partition(chr(9))[0]}"):
        TinyImageNet(tree).load("test")
