"""Data: sources of images, how they are held in memory, augmentation and the loader."""

from typing import TYPE_CHECKING

from toughen.lazy import lazy_names

if TYPE_CHECKING:
    from toughen.data.arrays import Arrays
    from toughen.data.at_path import images_at
    from toughen.data.augment import Augment
    from toughen.data.digits import Digits
    from toughen.data.encoded import Encoded
    from toughen.data.extra import ExtraImages, Filling
    from toughen.data.hugging_face import HuggingFace
    from toughen.data.image_folder import ImageFolder
    from toughen.data.loader import Loader
    from toughen.data.manifest import Manifest
    from toughen.data.memory import hold
    from toughen.data.mixing import CutMix, soften
    from toughen.data.order import epoch_order, order_by_class, sample_by_class, split_validation
    from toughen.data.parquet import Parquet
    from toughen.data.source import DataSource, Decoded, ImageSet, ImageStore, Split
    from toughen.data.tensors import image_set
    from toughen.data.tiny_imagenet import TinyImageNet
    from toughen.data.torch_dataset import TorchDataset
    from toughen.data.torchvision_sets import CIFAR10, CIFAR100, SVHN, FashionMNIST
    from toughen.data.webdataset import WebDataset

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "SVHN",
    "Arrays",
    "Augment",
    "CutMix",
    "DataSource",
    "Decoded",
    "Digits",
    "Encoded",
    "ExtraImages",
    "FashionMNIST",
    "Filling",
    "HuggingFace",
    "ImageFolder",
    "ImageSet",
    "ImageStore",
    "Loader",
    "Manifest",
    "Parquet",
    "Split",
    "TinyImageNet",
    "TorchDataset",
    "WebDataset",
    "epoch_order",
    "hold",
    "image_set",
    "images_at",
    "order_by_class",
    "sample_by_class",
    "soften",
    "split_validation",
]

__getattr__, __dir__ = lazy_names(__name__, __file__)
