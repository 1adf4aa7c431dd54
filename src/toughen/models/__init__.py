"""Networks, one architecture a file, and the classifier that is built around one."""

from typing import TYPE_CHECKING

from toughen.lazy import lazy_names

if TYPE_CHECKING:
    from toughen.models.adapters import Timm, Torchvision
    from toughen.models.build import (
        Classifier,
        Normalize,
        build_model,
        check_outputs,
        forward_flops,
        load_weights,
        looks_like_probabilities,
        with_facts,
    )
    from toughen.models.by_name import network_named
    from toughen.models.mean_sparsity import MeanSparse, mean_sparse, set_threshold
    from toughen.models.preact_resnet import PreActResNet18
    from toughen.models.resnet import ResNet18
    from toughen.models.robustbench_network import RobustBench
    from toughen.models.small_cnn import SmallCNN
    from toughen.models.split_batchnorm import SplitBatchNorm, branch, merge_batch_norms, split_batch_norms
    from toughen.models.transformers_network import Transformers
    from toughen.models.wide_resnet import WideResNet

__all__ = [
    "Classifier",
    "MeanSparse",
    "Normalize",
    "PreActResNet18",
    "ResNet18",
    "RobustBench",
    "SmallCNN",
    "SplitBatchNorm",
    "Timm",
    "Torchvision",
    "Transformers",
    "WideResNet",
    "branch",
    "build_model",
    "check_outputs",
    "forward_flops",
    "load_weights",
    "looks_like_probabilities",
    "mean_sparse",
    "merge_batch_norms",
    "network_named",
    "set_threshold",
    "split_batch_norms",
    "with_facts",
]

__getattr__, __dir__ = lazy_names(__name__, __file__)
