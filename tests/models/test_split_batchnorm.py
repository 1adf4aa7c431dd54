import copy
import pickle
import threading
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from toughen.errors import InputError
from toughen.models import (
    Classifier,
    Normalize,
    PreActResNet18,
    ResNet18,
    SmallCNN,
    SplitBatchNorm,
    Timm,
    WideResNet,
    branch,
    merge_batch_norms,
    split_batch_norms,
)


def volumes() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2), nn.Flatten(), nn.LazyLinear(4)
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: ResNet18(width=4),
    "preactresnet18": lambda: PreActResNet18(width=4),
    "wideresnet": lambda: WideResNet(depth=10, width=1),
    "classifier": lambda: Classifier(Normalize([0.5] * 3, [0.2] * 3), SmallCNN(width=4)),
    "torchvision": lambda: torchvision.models.resnet18(num_classes=10),
    "timm": lambda: Timm(name="resnet18"),
    "timm-batch-norm-act": lambda: timm.create_model("efficientnet_b0", num_classes=10, drop_rate=0.0),
    "1d": lambda: nn.Sequential(
        nn.Flatten(), nn.LazyLinear(8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Linear(8, 10)
    ),
    "3d": volumes,
    "fx": lambda: torch.fx.symbolic_trace(ResNet18(width=4)),
}


def made(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = NETWORKS[name]()
        network.eval()(torch.zeros(2, 3, 32, 32))
        for module in network.modules():  # away from the values that a fresh layer has
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.running_mean, -0.1, 0.1)
        return network


def images(n: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def layers(model: nn.Module) -> list[SplitBatchNorm]:
    return [module for module in model.modules() if isinstance(module, SplitBatchNorm)]


def statistics(model: nn.Module) -> list[Tensor]:
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return [tensor.clone() for norm in norms for tensor in (norm.running_mean, norm.running_var)]


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return made(request.param)


@pytest.mark.parametrize("training", [False, True])
def test_both_branches_start_as_the_network(network: nn.Module, training: bool) -> None:
    network.train(training)
    split = split_batch_norms(network)
    expected = copy.deepcopy(network)(images())
    for name in ("clean", "adversarial"):
        with branch(split, name):
            torch.testing.assert_close(split(images()), expected)


def test_every_batch_norm_is_replaced_and_all_other_weights_are_shared(network: nn.Module) -> None:
    split = split_batch_norms(network)
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(layers(split)) == len(norms) > 0
    assert not layers(network)
    own = set(map(id, network.parameters()))
    clean = {id(p) for layer in layers(split) for p in layer.clean.parameters()}
    assert set(map(id, split.parameters())) == own | clean
    assert not own & clean


def test_statistics_of_a_branch_are_those_of_a_network_that_saw_only_its_images(network: nn.Module) -> None:
    alone = {name: copy.deepcopy(network).train() for name in ("clean", "adversarial")}
    split = split_batch_norms(network).train()
    for step, name in enumerate(("clean", "adversarial", "adversarial", "clean")):
        with branch(split, name):
            split(images(seed=step))
        alone[name](images(seed=step))
    for name, ordinary in alone.items():
        merged = merge_batch_norms(split, name)
        assert all(map(torch.equal, statistics(merged), statistics(ordinary)))
    assert not torch.equal(statistics(alone["clean"])[0], statistics(alone["adversarial"])[0])


def test_merging_gives_the_ordinary_network_of_the_adversarial_branch(network: nn.Module) -> None:
    split = split_batch_norms(network)
    with torch.no_grad(), branch(split, "clean"):
        for layer in layers(split):
            layer.clean.weight.mul_(2)
    merged = merge_batch_norms(split)
    assert list(merged.state_dict()) == list(network.state_dict())
    assert type(merged) is type(network) or isinstance(network, torch.fx.GraphModule)
    assert [type(m) for m in merged.modules()] == [type(m) for m in network.modules()] or isinstance(
        network, torch.fx.GraphModule
    )
    split.train()(images(seed=5))  # what the adversarial branch goes on to see reaches the merged network
    torch.testing.assert_close(merged.eval()(images()), split.eval()(images()), rtol=0, atol=0)
    tensors = {tensor.data_ptr() for tensor in split.state_dict().values()}
    assert all(tensor.data_ptr() in tensors for tensor in merged.state_dict().values())
    with branch(split, "clean"):
        torch.testing.assert_close(merge_batch_norms(split, "clean").eval()(images()), split(images()), rtol=0, atol=0)


def test_the_merged_networks_mode_is_its_own() -> None:
    split = split_batch_norms(made("resnet18")).train()
    merge_batch_norms(split).eval()
    assert all(module.training for module in split.modules())


def test_gradients_of_a_branch_leave_the_other_one_alone() -> None:
    split = split_batch_norms(made("resnet18")).train()
    with branch(split, "clean"):
        split(images()).square().sum().backward()
    assert all(p.grad is None for layer in layers(split) for p in layer.adversarial.parameters())
    assert all(p.grad is not None for layer in layers(split) for p in layer.clean.parameters())
    assert split.get_parameter("conv1.weight").grad is not None


def in_use(model: nn.Module) -> set[str]:
    return {"clean" if layer.chosen is layer.clean else "adversarial" for layer in layers(model)}


def test_blocks_nest_and_end_with_the_former_choice() -> None:
    split = split_batch_norms(made("resnet18"))
    assert in_use(split) == {"adversarial"}
    with branch(split, "clean"):
        with branch(split, "adversarial"):
            assert in_use(split) == {"adversarial"}
            with branch(split, "clean"):
                assert in_use(split) == {"clean"}
            assert in_use(split) == {"adversarial"}
        assert in_use(split) == {"clean"}
    assert in_use(split) == {"adversarial"}


def test_errors_end_a_block_too() -> None:
    split = split_batch_norms(made("resnet18"))
    with branch(split, "clean"):
        with pytest.raises(RuntimeError), branch(split, "adversarial"):
            split(torch.rand(1, 7, 2, 2))
        assert in_use(split) == {"clean"}
    assert in_use(split) == {"adversarial"}


def test_a_choice_is_of_the_layers_of_one_network() -> None:
    split, other = split_batch_norms(made("resnet18")), split_batch_norms(made("resnet18"))
    with branch(split, "clean"), branch(other.get_submodule("layer1"), "clean"):
        assert in_use(split) == {"clean"}
        assert in_use(copy.deepcopy(split)) == {"adversarial"}
        assert in_use(other.get_submodule("layer1")) == {"clean"}
        assert in_use(other.get_submodule("layer2")) == {"adversarial"}
        with branch(other, "adversarial"):
            assert in_use(other) == {"adversarial"}
            assert in_use(split) == {"clean"}


def test_threads_choose_for_themselves() -> None:
    split = split_batch_norms(made("resnet18"))
    seen: dict[str, set[str]] = {}
    chosen, checked = threading.Event(), threading.Event()

    def other() -> None:
        seen["before"] = in_use(split)
        with branch(split, "clean"):
            chosen.set()
            checked.wait(10)
            seen["inside"] = in_use(split)

    thread = threading.Thread(target=other)
    thread.start()
    assert chosen.wait(10)
    with branch(split, "adversarial"):
        assert in_use(split) == {"adversarial"}
    checked.set()
    thread.join()
    assert in_use(split) == {"adversarial"}
    assert seen == {"before": {"adversarial"}, "inside": {"clean"}}


def test_an_unknown_branch() -> None:
    with (
        pytest.raises(InputError, match="unknown name 'adverserial'; did you mean 'adversarial'"),
        branch(made("1d"), "adverserial"),
    ):
        pass


def test_an_ordinary_network_has_one_branch() -> None:
    network = made("resnet18")
    with branch(network, "clean"):
        assert torch.equal(network(images()), merge_batch_norms(network)(images()))
    assert merge_batch_norms(network) is network


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"]
)
def test_copies_are_split_and_independent(copied: Callable[[nn.Module], nn.Module]) -> None:
    split = split_batch_norms(made("resnet18")).train()
    other = copied(split)
    before = statistics(split)
    with branch(other, "clean"):
        assert in_use(other) == {"clean"}
        other(images())
    assert all(map(torch.equal, statistics(split), before))
    with branch(split, "clean"):
        split(images())
    assert all(map(torch.equal, statistics(split), statistics(other)))


class Twice(nn.Module):
    """One BatchNorm in two places, by two names and in a plain list, and tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm2d(3)
        self.again = self.first
        self.tied = nn.BatchNorm2d(3)
        self.tied.weight = self.first.weight
        self.steps = [self.first, self.again, self.tied]

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x) + 0.5
        return x + self.first.weight.sum()


def test_a_layer_in_several_places_stays_one() -> None:
    network = Twice()
    with torch.no_grad():
        network.first.weight.fill_(2.0)
    split = split_batch_norms(network)
    assert split.first is split.again is split.steps[0] is split.steps[1]
    assert split.first.clean.weight is split.tied.clean.weight is not split.first.adversarial.weight
    assert split.first.adversarial.weight is split.tied.adversarial.weight is network.first.weight
    with torch.no_grad():
        split.first.clean.weight.fill_(1.0)
    with branch(split, "clean"):
        assert torch.equal(split(images()) + 0, merge_batch_norms(split, "clean")(images()))
    assert list(merge_batch_norms(split).state_dict()) == list(network.state_dict())
    torch.testing.assert_close(merge_batch_norms(split).eval()(images()), network.eval()(images()))


def test_a_batch_norm_alone_is_a_network() -> None:
    split = split_batch_norms(nn.BatchNorm2d(3))
    assert isinstance(split, SplitBatchNorm)
    assert isinstance(merge_batch_norms(split), nn.BatchNorm2d)


def test_attributes_are_those_of_the_branch_in_use() -> None:
    layer = split_batch_norms(nn.BatchNorm2d(3, eps=0.125))
    assert (layer.num_features, layer.eps) == (3, 0.125)
    assert layer.weight is layer.adversarial.weight
    with branch(layer, "clean"):
        assert layer.running_mean is layer.clean.running_mean
    assert not hasattr(layer, "nothing")


def test_flags_of_single_layers_stay() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3).eval(), nn.BatchNorm2d(3).requires_grad_(False))
    split = split_batch_norms(network)
    assert [layer.training for layer in layers(split)] == [False, True]
    assert not split[0].clean.training
    assert [p.requires_grad for p in split[1].parameters()] == [False] * 4
    assert all(p.requires_grad for p in split[0].parameters())


def test_splitting_again_changes_nothing() -> None:
    split = split_batch_norms(made("resnet18"))
    assert split_batch_norms(split) is split


class OwnBatchNorm(nn.Module):
    """Written from scratch, as teaching code does."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3))
        self.register_buffer("running_var", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.running_mean.lerp_(x.mean((0, 2, 3)), 0.1)
        return x - self.running_mean[:, None, None]


def test_which_layers_are_batch_norms() -> None:
    network = nn.Sequential(
        OwnBatchNorm(),
        nn.SyncBatchNorm(3),
        nn.BatchNorm2d(3, affine=False, track_running_stats=False),
        nn.InstanceNorm2d(3, track_running_stats=True),
        nn.GroupNorm(1, 3),
    )
    split = split_batch_norms(network)
    assert [isinstance(module, SplitBatchNorm) for module in split] == [True, True, True, False, False]
    with branch(split[0], "clean"):
        split[0](images() + 1)
    assert split[0].clean.running_mean.min() > 0.1
    assert torch.equal(split[0].adversarial.running_mean, torch.zeros(3))


class Locked(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.BatchNorm2d(3))
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 2, 3)), "Sequential has no BatchNorm layer to split; .*split_bn false"),
        (lambda: nn.Sequential(nn.LazyBatchNorm2d()), "LazyBatchNorm2d that has seen no batch; run one"),
        (lambda: torch.jit.trace(nn.BatchNorm2d(3).eval(), images()), "TorchScript module.*before torch.jit"),
        (Locked, "Locked cannot be copied: .*lock.*; expected a network that copy.deepcopy takes"),
    ],
    ids=["none", "lazy", "script", "lock"],
)
@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_what_cannot_be_split(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_batch_norms(make())


class Remembers(nn.Sequential):
    """Keeps a tensor with a graph, as research code does."""

    def forward(self, x: Tensor) -> Tensor:
        self.features = super().forward(x)
        return self.features.mean((2, 3))


def test_a_network_that_keeps_its_features_can_be_merged_in_training() -> None:
    split = split_batch_norms(Remembers(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))).train()
    split(images()).sum().backward()
    torch.testing.assert_close(merge_batch_norms(split).eval()(images()), split.eval()(images()))


def test_a_compiled_network_follows_the_choice() -> None:
    split = split_batch_norms(made("1d")).eval()
    with torch.no_grad():
        layers(split)[0].clean.weight.mul_(3)
    compiled = torch.compile(split, backend="eager")
    for name in ("adversarial", "clean", "adversarial"):
        with branch(split, name):
            torch.testing.assert_close(compiled(images()), split(images()))
