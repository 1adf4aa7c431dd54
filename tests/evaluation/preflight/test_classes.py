"""Samples that are not like the set that they stand for."""

import pytest
import torch
from scipy.stats import hypergeom

SORTED = torch.arange(10).repeat_interleave(100)


def names(look, network, evaluated: torch.Tensor, split: torch.Tensor) -> set[str]:
    return set(look(network, evaluated=evaluated, split=split)) & {"sample_unlike_set", "classes_unseen"}


@pytest.mark.parametrize("n", [10, 100, 500, 800])
def test_the_first_images_of_sorted_data_are_unlike_the_set(look, network, n):
    assert "sample_unlike_set" in names(look, network, SORTED[:n], SORTED)


@pytest.mark.parametrize("n", [10, 100, 500, 1000])
def test_a_sample_of_shuffled_data_is_not_doubted(look, network, n):
    shuffled = SORTED[torch.randperm(1000, generator=torch.Generator().manual_seed(n))]
    assert names(look, network, shuffled[:n], shuffled) <= {"classes_unseen"}


def test_one_image_of_a_rare_class_raises_no_doubt(look, network):
    """Class 9 has one of 1,000 images: it is among 10 in one sample of a hundred, which is no reason to doubt."""
    split = torch.cat([torch.arange(9).repeat(111), torch.tensor([9])])
    evaluated = torch.cat([torch.arange(9), torch.tensor([9])])
    assert names(look, network, evaluated, split) == set()


def test_the_finding_says_how_unlikely_the_sample_is(look, network):
    """Twice ten classes times a binomial tail, no less than the exact one of a draw without replacement."""
    shuffled = SORTED[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    evaluated = torch.cat([torch.zeros(40, dtype=torch.int64), shuffled[:100]])
    finding = look(network, evaluated=evaluated, split=SORTED)["sample_unlike_set"]
    count = finding.figures["evaluated"][0]
    assert count == int((evaluated == 0).sum())
    assert 20 * hypergeom.sf(count - 1, 1000, 100, 140) <= finding.figures["p"] < 1e-4
    assert finding.severity == "doubt"
