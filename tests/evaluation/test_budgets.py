"""The attacks of a budget and what they write into the protocol."""

import json

import pytest

from toughen.errors import InputError
from toughen.evaluation import attacks_of
from toughen.threat import ThreatModel


def test_settings_are_complete_and_plain():
    threat = ThreatModel("linf", "8/255")
    settings = {attack.name: attack.settings(threat) for attack in attacks_of("standard", 10)}
    assert json.loads(json.dumps(settings)) == settings
    assert (settings["fgsm"]["steps"], settings["fgsm"]["start"]) == (1, "clean")
    assert settings["fgsm"]["step_size"] == pytest.approx(8 / 255)
    assert (settings["pgd20"]["steps"], settings["pgd20"]["loss"], settings["pgd20"]["keep_best"]) == (
        20,
        "ce",
        True,
    )
    assert settings["pgd20"]["step_size"] == pytest.approx(2.5 * 8 / 255 / 20)
    assert settings["autoattack"]["standard"] is True
    assert settings["autoattack"]["components"] == ["apgd-ce", "apgd-t", "fab-t", "square"]


def test_quick_has_restarts_and_a_margin_and_a_name_of_its_own():
    quick = {attack.name: attack.settings(ThreatModel()) for attack in attacks_of("quick", 10)}
    assert list(quick) == ["fgsm", "pgd20_margin"]
    assert quick["pgd20_margin"]["loss"] == "margin"
    assert quick["pgd20_margin"]["restarts"] == 5
    assert "pgd20_margin" not in [attack.name for attack in attacks_of("standard", 10)]


def test_few_classes_are_not_called_standard():
    settings = attacks_of("standard", 5)[-1].settings(ThreatModel())
    assert settings["standard"] is False
    assert settings["apgd_targets"] == settings["fab_targets"] == 4


def test_an_unknown_budget_is_named():
    with pytest.raises(InputError, match=r"unknown 'standrad'; did you mean 'standard'"):
        attacks_of("standrad", 10)
