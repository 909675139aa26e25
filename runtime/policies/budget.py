"""No operation starts that would overrun a budget of its run."""

from collections.abc import Awaitable, Mapping
from typing import Final

import structlog

from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.errors import AntiphonError, BudgetExceeded, BusError, Busy, ConfigurationError
from antiphon.runtime.models.price import FREE, Price, price_of
from antiphon.runtime.models.setting import ModelSetting
from antiphon.runtime.policies.account import Account, Amounts
from antiphon.runtime.policies.chain import Next, Operation, OperationKind, Outcome
from antiphon.runtime.policies.ledger import Ledger
from antiphon.runtime.policies.limits import STEPS, TOKENS, USD, WALL_S
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas.identity import new_id
from antiphon.schemas.inference import Embeddings, GenerateRequest, Reply, Usage

_STEPS: Final = frozenset(
    {
        OperationKind.ASK,
        OperationKind.CALL,
        OperationKind.SUBMIT,
        OperationKind.MODEL,
        OperationKind.TOOL,
        OperationKind.RUN,
    }
)
_OUTLIVE: Final = frozenset({OperationKind.SUBMIT, OperationKind.PUBLISH})

log = structlog.get_logger()


class BudgetInterceptor:
    """Counts what a run's operations use, on all nodes together, and refuses what would be too much.

    It belongs inside the journal and next to the transport: what is replayed or answered from a cache costs
    nothing, what is repeated costs again. A model call is held at ``max_tokens`` of output and one token of input
    before it starts, and settled at what it used: ``tokens`` and ``usd`` are overrun by no more than the inputs of
    the calls under way. A call that fails after its first chunk says nothing of its usage and counts as held, one
    that fails before counts as nothing. ``wall_s`` is a deadline and not looked at here.
    """

    def __init__(self, ledger: Ledger, models: Mapping[str, ModelSetting]) -> None:
        self._ledger = ledger
        self._models = models

    def __call__(self, operation: Operation, next: Next) -> Awaitable[Outcome]:
        """Pass the operation on if the run's budgets allow it.

        Raises:
            BudgetExceeded: they do not; with budget, limit, what was used and the operation. Not retryable.
            ConfigurationError: the run has a budget of usd, and the model has no price.
            Busy, BusError: the count could not be reached or changed.
        """
        scope = operation.scope
        if not scope.budget:
            return next(operation)
        if scope.agent:
            return self._counted(operation, next)
        return self._asked(operation, next) if operation.kind is OperationKind.ASK else next(operation)

    async def _asked(self, operation: Operation, next: Next) -> Outcome:
        """An ask from outside is the root of its run."""
        try:
            return await next(operation)
        finally:
            scope = operation.scope
            try:
                await self._ledger.close(scope.tenant, scope.run)
            except BusError as error:
                log.warning("budget_not_closed", run=scope.run, error=error.message)  # it goes away by itself

    async def _counted(self, operation: Operation, next: Next) -> Outcome:
        price = self._price(operation) if operation.kind is OperationKind.MODEL else FREE
        wanted = _amounts(operation, _most(operation), price)
        hold = _hold_name(operation)
        await self._take(operation, wanted, hold)
        if not hold or not wanted:
            return await next(operation)
        try:
            outcome = await next(operation)
        except BaseException as error:
            if operation.kind is OperationKind.MODEL:
                began = names.GENAI_FIRST_CHUNK in operation.attributes
                await self._settle(operation, hold, wanted if began else _amounts(operation, Usage(), price))
            elif isinstance(error, AntiphonError) and not error.retryable:
                await self._settle(operation, hold, wanted)  # else the same call comes again, under the same name
            raise
        used = _usage(outcome.value) if operation.kind is OperationKind.MODEL else Usage()
        await self._settle(operation, hold, _amounts(operation, used, price))
        return outcome

    async def _take(self, operation: Operation, wanted: Amounts, hold: str) -> None:
        scope = operation.scope
        outlives = operation.kind in _OUTLIVE and not scope.budget.keys() <= {WALL_S}
        if not wanted and not outlives:
            return

        def take(account: Account) -> Account:
            shortage = account.shortage(scope.budget, wanted, hold)
            if shortage is not None:
                budget, limit, used, more = shortage
                operation.attributes[names.BUDGET_USED] = [
                    f"{name}:{account.used(name):g}:{scope.budget[name]:g}" for name in wanted
                ]
                raise BudgetExceeded(
                    f"{operation.kind} {operation.target}: the run may use {limit:g} {budget}, {used:g} are used or "
                    f"reserved, and this takes up to {more:g}; give the run more, or have it do less",
                    budget=budget,
                    limit=f"{limit:g}",
                    used=f"{used:g}",
                    operation=f"{operation.kind} {operation.target}",
                    path=operation.path,
                )
            account = account.hold(hold, wanted) if hold else account.spend(wanted)
            return account.lasting() if outlives else account

        await self._ledger.change(scope.tenant, scope.run, take)

    async def _settle(self, operation: Operation, hold: str, used: Amounts) -> None:
        scope = operation.scope
        try:
            await self._ledger.change(scope.tenant, scope.run, lambda account: account.settle(hold, used))
        except (BusError, Busy) as error:  # the hold stays, so the run has less, never more
            log.warning("budget_not_settled", run=scope.run, path=operation.path, error=error.message)

    def _price(self, operation: Operation) -> Price:
        """The model's price; one that settings do not know is left to the transport, or was given by the process."""
        setting = self._models.get(operation.target)
        price = FREE if setting is None else price_of(setting)
        if price is not None:
            return price
        if USD not in operation.scope.budget:
            return FREE
        raise ConfigurationError(
            f"model {operation.target!r} has no price, and the run may use {operation.scope.budget[USD]:g} usd: "
            f"set usd_per_million_input and usd_per_million_output in [models.{operation.target}] (0: it is free)",
            budget=USD,
            operation=f"{operation.kind} {operation.target}",
            path=operation.path,
        )


def _hold_name(operation: Operation) -> str:
    """Under which name an operation's amounts are held while it runs; empty: they are spent when it starts.

    A model call is held because its usage is not known, a child task because its parent may park, or die, and come
    back to the same child. Within a task the name is the same on every attempt.
    """
    task = operation.scope.task
    if operation.kind is OperationKind.MODEL or (operation.kind is OperationKind.CALL and task):
        return f"{task or new_id()}:{operation.path}"
    return ""


def _most(operation: Operation) -> Usage:
    """The output that an operation may take at most, and the least of input."""
    if operation.kind is not OperationKind.MODEL:
        return Usage()
    call: ModelCall = operation.request
    output = call.request.sampling.max_tokens if isinstance(call.request, GenerateRequest) else 0
    return Usage(input_tokens=1, output_tokens=output)


def _amounts(operation: Operation, usage: Usage, price: Price) -> Amounts:
    """What the operation takes of each of its run's budgets; budgets that it cannot touch are left out."""
    limits = operation.scope.budget
    found: dict[str, float] = {}
    if STEPS in limits and operation.kind in _STEPS:
        found[STEPS] = 1.0
    if operation.kind is OperationKind.MODEL:
        if TOKENS in limits:
            found[TOKENS] = float(usage.input_tokens + usage.output_tokens)
        if USD in limits and price != FREE:
            found[USD] = price.usd(usage)
    return found


def _usage(answer: Reply | Embeddings) -> Usage:
    return answer.finish.usage if isinstance(answer, Reply) else answer.usage
