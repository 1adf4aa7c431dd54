import pytest

from toughen.errors import (
    DataError,
    DivergedError,
    InputError,
    RunError,
    ToughenError,
    ToughenWarning,
    did_you_mean,
)

METHODS = ["TRADES", "ARR", "PGDAT", "Standard"]
ALL = "Known: ARR, PGDAT, Standard, TRADES"


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("TRADE", "TRADES"), ("trades", "TRADES"), ("pgd_at", "PGDAT"), ("standart", "Standard"), ("AR", "ARR")],
)
def test_nearest_name_whatever_its_case(given: str, nearest: str) -> None:
    assert did_you_mean(given, METHODS) == f"did you mean '{nearest}'? {ALL}"


@pytest.mark.parametrize("given", ["mixup", "", "xyz"])
def test_nothing_near_lists_all(given: str) -> None:
    assert did_you_mean(given, METHODS) == ALL


def test_any_iterable_will_do() -> None:
    assert did_you_mean("b", iter({"b": 1, "a": 2})) == "did you mean 'b'? Known: a, b"


@pytest.mark.parametrize("error", [InputError, DataError, RunError, DivergedError])
def test_one_base_catches_what_is_raised_on_purpose(error: type[ToughenError]) -> None:
    with pytest.raises(ToughenError, match="what to do next"):
        raise error("what to do next")


def test_wrong_input_is_a_value_error() -> None:
    assert issubclass(InputError, ValueError)


def test_warning_can_be_silenced_like_any_users_warning() -> None:
    assert issubclass(ToughenWarning, UserWarning)


def test_known_names_stand_in_the_order_of_the_alphabet() -> None:
    assert did_you_mean("zzz", ["TRADES", "ARoW", "ARAT"]) == "Known: ARAT, ARoW, TRADES"
