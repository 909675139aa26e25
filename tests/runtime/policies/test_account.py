"""What a run has used: sums that stay within their limits whatever order operations come and go in."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.policies.account import Account, Shortage

BUDGETS = ("tokens", "steps")
AMOUNTS = st.dictionaries(st.sampled_from(BUDGETS), st.integers(0, 50).map(float))
# An operation by name, what it holds, the share of it that it uses, and whether it ends at all.
OPERATIONS = st.lists(st.tuples(st.sampled_from("abcd"), AMOUNTS, st.floats(0, 1), st.booleans()), max_size=30)


@given(st.fixed_dictionaries({name: st.integers(0, 200).map(float) for name in BUDGETS}), OPERATIONS)
def test_what_never_uses_more_than_it_holds_never_overruns(
    limits: dict[str, float], operations: list[tuple[str, dict[str, float], float, bool]]
) -> None:
    """Holds, repeated holds of one operation and settlements keep spent and held together within every limit."""
    account, spent = Account(), dict.fromkeys(BUDGETS, 0.0)
    for name, wanted, share, ends in operations:
        if account.shortage(limits, wanted, name) is not None:
            continue
        account = account.hold(name, wanted)
        if ends:
            used = {budget: float(int(amount * share)) for budget, amount in wanted.items()}
            account = account.settle(name, used)
            spent = {budget: spent[budget] + used.get(budget, 0.0) for budget in BUDGETS}
        assert all(account.used(budget) <= limits[budget] for budget in BUDGETS)
        assert all(account.spent.get(budget, 0.0) == spent[budget] for budget in BUDGETS)


@given(st.lists(AMOUNTS, max_size=8), AMOUNTS)
def test_an_account_survives_being_stored(spendings: list[dict[str, float]], held: dict[str, float]) -> None:
    """The bytes in the bucket give the same account again."""
    account = Account()
    for amounts in spendings:
        account = account.spend(amounts)
    account = account.hold("t:1", held).lasting()
    assert msgspec.json.decode(msgspec.json.encode(account), type=Account) == account


def test_a_shortage_names_the_budget_and_the_numbers() -> None:
    """Used counts what is held; the operation's own hold is left out, since it would be replaced."""
    account = Account().spend({"tokens": 60.0}).hold("t:1", {"tokens": 30.0, "steps": 1.0})
    limits = {"tokens": 100.0, "steps": 1.0}
    assert account.shortage(limits, {"tokens": 20.0}, "t:2") == Shortage("tokens", 100.0, 90.0, 20.0)
    assert account.shortage(limits, {"steps": 1.0, "tokens": 40.0}, "t:1") is None
    assert account.shortage({"tokens": float("nan")}, {"tokens": 1.0}) is not None
