"""The attacks of a budget and what they write into the protocol."""

import json

import pytest

from toughen.errors import InputError
from toughen.evaluation import attacks_of
from toughen.threat import ThreatModel


def test_settings_are_complete_and_plain():
    threat = ThreatModel("linf", "8/255")
    settings = {attack.name: attack.settings(threat) for attack in attacks_of("standard", 10, "linf")}
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
    quick = {attack.name: attack.settings(ThreatModel()) for attack in attacks_of("quick", 10, "linf")}
    assert list(quick) == ["fgsm", "pgd20_margin"]
    assert quick["pgd20_margin"]["loss"] == "margin"
    assert quick["pgd20_margin"]["restarts"] == 5
    assert "pgd20_margin" not in [attack.name for attack in attacks_of("standard", 10, "linf")]


def test_quick_is_not_weak_in_l1():
    quick = {attack.name: attack.settings(ThreatModel("l1", 12)) for attack in attacks_of("quick", 10, "l1")}
    assert list(quick) == ["fgsm", "apgd20"]
    assert quick["apgd20"]["losses"] == ["ce", "dlr"]
    assert "attacked" not in quick["apgd20"]


def test_thorough_is_standard_and_more_on_what_is_left():
    thorough, standard = attacks_of("thorough", 10, "linf"), attacks_of("standard", 10, "linf")
    names = [attack.name for attack in thorough]
    assert names == ["fgsm", "pgd20", "autoattack", "pgd100_ce", "pgd100_margin", "pgd100_dlr", "square"]
    threat = ThreatModel()
    assert [a.settings(threat) for a in thorough[:3]] == [a.settings(threat) for a in standard]
    assert [attack.survivors_only for attack in thorough] == [False] * 3 + [True] * 4
    for attack in thorough[3:6]:
        settings = attack.settings(threat)
        assert (settings["steps"], settings["restarts"]) == (100, 10)
        assert settings["loss"] == attack.name.removeprefix("pgd100_")
        assert settings["attacked"] == "what the attacks before it left"
    assert thorough[6].settings(threat)["queries"] == 20_000
    assert json.loads(json.dumps(thorough[6].settings(threat))) == thorough[6].settings(threat)


def test_two_classes_have_no_dlr():
    assert "pgd100_dlr" not in [attack.name for attack in attacks_of("thorough", 2, "linf")]
    assert "pgd100_dlr" in [attack.name for attack in attacks_of("thorough", 3, "linf")]


def test_few_classes_are_not_called_standard():
    settings = attacks_of("standard", 5, "linf")[-1].settings(ThreatModel())
    assert settings["standard"] is False
    assert settings["apgd_targets"] == settings["fab_targets"] == 4


def test_an_unknown_budget_is_named():
    with pytest.raises(InputError, match=r"unknown 'standrad'; did you mean 'standard'"):
        attacks_of("standrad", 10, "linf")
