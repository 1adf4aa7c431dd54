"""Batches of a split, epoch after epoch, in an order that a resumed run can take up again."""

import re
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from toughen.batch import Batch
from toughen.data.augment import Augment
from toughen.data.extra import Filling
from toughen.data.order import epoch_order
from toughen.data.source import Decoded, ImageSet, ImageStore, in_unit_range
from toughen.data.views import auto_augmented
from toughen.errors import DataError, InputError


class Loader:
    """One rank's batches of an image set.

    Iterating gives one epoch of `Batch`: images float32 in [0, 1], labels, indices into the image set, and
    where augmentation placed each image, all on `device`. Decoded images that lie on the device are sliced
    there, with no synchronisation in an epoch but at its start; others are decoded or copied, ahead of time
    if there are `workers`.

    Epoch `e` visits the images in `epoch_order(n, seed, e)` if `shuffle`, else in their own order. Which
    batches come depends on nothing else, so that `start(e, k)` gives the ones that were left after `k` steps;
    the augmentation's draws follow too if the caller restores the state that `generator` had then. Without
    `start`, each iteration is the next epoch.

    With several ranks a batch of `batch_size` images is dealt out among them. Every rank has the same number
    of batches. When shuffling their shares are equal, for which up to `world_size - 1` images of the last
    batch are left out; otherwise none is left out, and in the last batch a share may be smaller or empty.

    When shuffling no rank is left with a last batch of a single image, on which BatchNorm cannot be trained:
    such images join the batch before, which is then larger than `batch_size`.

    Args:
        images: the split.
        indices: the images to visit, such as the training part of `split_validation`; None for all.
        batch_size: images in a step of all ranks together.
        device: the one that batches go to.
        augment: applied to every batch; None for none.
        generator: what the augmentation draws from; on `device`.
        shuffle: whether every epoch has another order.
        seed: decides the orders; the same on every rank.
        drop_last: whether to leave out a last batch with fewer than `batch_size` images.
        workers: processes that decode; 0 decodes in this one. Not used for images on the device.
        rank: which process this is.
        world_size: number of processes.
        extra: images beside `indices` that fill a fraction of every batch.
        views: further versions of each image, by AutoAugment and `augment`; they need a generator.

    Raises:
        InputError: an empty or too small set, indices out of range, a batch size that is not positive or
            cannot be shared out equally, augmentation without a generator.
        DataError: an image that turns out damaged when it is decoded.
    """

    def __init__(
        self,
        images: ImageSet,
        indices: Tensor | None,
        batch_size: int,
        *,
        device: torch.device | str,
        augment: Augment | None = None,
        generator: torch.Generator | None = None,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        extra: Filling | None = None,
        views: int = 0,
    ) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise InputError(
                f"batch_size: expected a positive multiple of the number of processes ({world_size}), got {batch_size}"
            )
        if (augment is not None or views) and generator is None:
            raise InputError("generator: expected a torch.Generator on the device, for augment or views, got None")
        self.images = images
        self.indices = torch.arange(len(images)) if indices is None else indices.cpu()
        if len(self.indices) and not 0 <= int(self.indices.min()) <= int(self.indices.max()) < len(images):
            raise InputError(
                f"indices: expected values in 0 .. {len(images) - 1}, got "
                f"{int(self.indices.min())} .. {int(self.indices.max())}"
            )
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.augment = augment
        self.generator = generator
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.workers = workers
        self.rank = rank
        self.world_size = world_size
        self.extra = extra
        self.views = views
        self._own = batch_size if extra is None else batch_size - extra.of_batch(batch_size)
        self._labels = images.labels.to(self.device)
        self._position = (0, 0)
        if not len(self):
            raise InputError(
                f"batch_size: {len(self.indices)} images are too few for batches of {batch_size} on "
                f"{world_size} processes; use a smaller --batch_size or more images"
            )

    def __len__(self) -> int:
        full, rest = divmod(len(self.indices), self._own)
        return full + (rest >= self._smallest(full) and not self.drop_last)

    def _smallest(self, full: int) -> int:
        """Images of `indices` that make up a last batch of their own, after so many full ones."""
        if not self.shuffle:
            return 1
        # Two for every rank; where there is no batch to join, or batches have no more, one.
        return min(2 * self.world_size, self._own) if full else self.world_size

    def start(self, epoch: int, step: int = 0) -> None:
        """Let the next iteration begin at batch `step` of `epoch`; `step == len(self)` gives no batch.

        Raises:
            InputError: a negative epoch, or a step outside the epoch.
        """
        if epoch < 0 or not 0 <= step <= len(self):
            raise InputError(f"start: expected epoch >= 0 and step in 0 .. {len(self)}, got {epoch} and {step}")
        self._position = (epoch, step)

    def __iter__(self) -> Iterator[Batch]:
        epoch, step = self._position
        self._position = (epoch + 1, 0)
        shares = self._shares(epoch)[step:]
        return self._batches(shares) if shares else iter(())

    def _shares(self, epoch: int) -> list[Tensor]:
        """This rank's part of each of the epoch's batches, as indices into the image set."""
        order = self.indices
        if self.shuffle:
            order = order[epoch_order(len(order), self.seed, epoch)]
        batches = list(order.split(self._own))
        if len(batches) > len(self) and not self.drop_last:
            lone = batches.pop()
            batches[-1] = torch.cat([batches[-1], lone])
        batches = batches[: len(self)]
        if self.extra is not None:
            batches = self.extra.fill(batches, self.batch_size, self.seed, epoch)
        shares = []
        for batch in batches:
            even = len(batch) - len(batch) % self.world_size if self.shuffle else len(batch)
            shares.append(batch[:even][self.rank :: self.world_size])
        return shares

    def _batches(self, shares: list[Tensor]) -> Iterator[Batch]:
        store = self.images.images
        # One transfer an epoch.
        chosen = torch.cat(shares).to(self.device).split([len(share) for share in shares])
        if isinstance(store, Decoded) and store.tensor.device == self._labels.device:
            for indices in chosen:
                yield self._finish(store.tensor.index_select(0, indices), indices)
            return
        on_gpu = self.device.type == "cuda"
        # Its own generator, or DataLoader would draw from the global one.
        streamed = DataLoader(
            _Taken(store, shares),
            batch_size=None,
            num_workers=self.workers,
            pin_memory=on_gpu,
            generator=torch.Generator(),
        )
        for indices, images in zip(chosen, streamed, strict=True):
            if isinstance(images, DataError):
                raise images
            yield self._finish(images.to(self.device, non_blocking=on_gpu), indices)

    def _finish(self, images: Tensor, indices: Tensor) -> Batch:
        placement = None
        views: tuple[Tensor, ...] = ()
        if self.views and self.generator is not None:
            augment, generator = self.augment, self.generator
            views = tuple(in_unit_range(auto_augmented(images, augment, generator)) for _ in range(self.views))
        if self.augment is not None and self.generator is not None:
            placement = self.augment.draw(len(images), self.generator)
            images = placement.apply(images)
        labels = self._labels.index_select(0, indices)
        return Batch(in_unit_range(images), labels, indices, placement=placement, views=views)


def killed_worker(error: RuntimeError) -> str | None:
    """What to say where an error is that one of a loader's processes was killed; None for any other error.

    PyTorch raises it in the main process at whatever that is doing then.
    """
    found = re.match(r"DataLoader worker \(pid\(?s?\)? ?([\d, ]+)\)", str(error))
    if found is None:
        return None
    return (
        f"a process that decodes images (pid {found[1]}) was killed, probably for lack of memory; free some, or take "
        "fewer with --workers"
    )


class _Taken(Dataset[Tensor | DataError]):
    """Batches taken from a store, for a DataLoader's workers."""

    def __init__(self, store: ImageStore, shares: list[Tensor]) -> None:
        self.store = store
        self.shares = shares

    def __len__(self) -> int:
        return len(self.shares)

    def __getitem__(self, step: int) -> Tensor | DataError:
        try:
            return self.store.take(self.shares[step])
        except DataError as error:
            # Returned and raised again in the main process: DataLoader would bury its message in a traceback.
            return error
