"""The chain: first interceptor outermost, each may answer, and all see the same operation."""

from collections.abc import Awaitable

from antiphon.runtime.policies.chain import Interceptor, Next, Operation, OperationKind, Outcome, Scope, build


def operation() -> Operation:
    """Something to do."""
    scope = Scope(tenant="default", run="r")
    return Operation(kind=OperationKind.RUN, path="1", target="step", scope=scope, body=b"")


def noting(name: str, log: list[str]) -> Interceptor:
    """Says when it is passed on the way in and on the way out."""

    async def pass_on(found: Operation, next: Next) -> Outcome:
        log.append(f"{name} in")
        outcome = await next(found)
        log.append(f"{name} out")
        return outcome

    return pass_on


async def test_the_first_interceptor_is_outermost() -> None:
    """In goes first to last, out goes last to first."""
    log: list[str] = []

    async def transport(found: Operation) -> Outcome:
        log.append(found.target)
        return Outcome(1, b"1")

    assert (await build([noting("a", log), noting("b", log)], transport)(operation())).value == 1
    assert log == ["a in", "b in", "step", "b out", "a out"]


async def test_an_interceptor_may_answer_by_itself() -> None:
    """Nothing behind it is reached."""

    def answer(found: Operation, next: Next) -> Awaitable[Outcome]:
        async def ready() -> Outcome:
            return Outcome("cached", b"")

        return ready()

    async def transport(found: Operation) -> Outcome:
        raise AssertionError("it was passed on")

    assert (await build([answer], transport)(operation())).value == "cached"
