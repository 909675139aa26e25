"""The only ways in which the console changes anything: named actions, each noted before it is tried and after."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, TypeVar

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.client import Client
from antiphon.runtime.console import wishes
from antiphon.runtime.console.asking import BadRequest, answer, body, query
from antiphon.runtime.console.auth import visitor_of
from antiphon.runtime.console.refusing import refused
from antiphon.runtime.delivery.letters import Letters
from antiphon.runtime.delivery.redrive import Redriver, Resolution
from antiphon.runtime.described import Described, message_of
from antiphon.runtime.errors import AntiphonError, MessageError
from antiphon.runtime.policies.book import PolicyBook
from antiphon.runtime.store.audit import Act, Outcome, acts
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.sqlite import Store
from antiphon.schemas.finding_request import ApplyFinding, DismissFinding
from antiphon.schemas.identity import Address, InvalidName
from antiphon.schemas.message import Message, Value
from antiphon.schemas.policy import Level

DEADLINE_S: Final = 30.0
_LOGGING_AGENT: Final = "logging-agent"  # by name, because the console knows no agents
W = TypeVar("W", bound=Value)


class Done(Value):
    """What came of an action: the finding, policy or approval as it then is, or a few named facts."""

    result: dict[str, Any]


class ActView(Value):
    """One line of the audit log."""

    id: int
    unix_ms: int
    action: str
    by: str
    arguments: dict[str, Any]
    outcome: Outcome
    message: str

    @classmethod
    def of(cls, act: Act) -> "ActView":
        """As it was noted."""
        return cls(**{name: getattr(act, name) for name in cls.model_fields})


class ActsView(Value):
    """The audit log, the newest first; ``next`` is the ``before`` of the next page."""

    actions: tuple[ActView, ...]
    next: int | None


class ActsQuery(Value):
    """Those before an id."""

    before: int | None = Field(default=None, ge=1, lt=2**63)
    limit: int = Field(default=100, ge=1, le=1_000)


class Action(NamedTuple, Generic[W]):
    """The form of what is wished for, and what does it."""

    form: type[W]
    do: Callable[["Actions", W], Awaitable[dict[str, Any]]]


class Actions:
    """Handlers over a client, whose tenant they act on, and the store, which keeps the audit log."""

    def __init__(self, client: Client, store: Store, reader: Reader, *, capture_content: bool) -> None:
        self._client = client
        self._host = client.host
        self._store = store
        self._reader = reader
        self._hash = None if capture_content else client.host.content_hash
        self._described = Described(self._host.directory, self._host.clock)

    def routes(self) -> list[BaseRoute]:
        """Where each is found."""
        return [
            Route("/api/actions/{name}", self.act, methods=["POST"]),
            Route("/api/audit", self.audit),
        ]

    async def act(self, request: Request) -> Response:
        """Do what is asked, if it is one of ACTIONS."""
        name = request.path_params["name"]
        action = ACTIONS.get(name)
        if action is None:
            raise BadRequest(404, f"no action {name[:80]!r}: there are {', '.join(ACTIONS)}")
        wish = await body(request, action.form)
        person = visitor_of(request).name
        if person is not None:  # proven: nobody else can be claimed
            wish = wish.model_copy(update={"by": person})
        arguments = wishes.noted(wish, self._hash)
        act = await self._store.apart(lambda: self._store.begin_act(action=name, by=wish.by, arguments=arguments))
        try:
            async with asyncio.timeout(DEADLINE_S):
                found = await action.do(self, wish)
        except BaseException as error:
            why = self._why(error)
            await asyncio.shield(self._store.apart(lambda: self._store.end_act(act, Outcome.FAILED, why)))
            if isinstance(error, AntiphonError):
                raise refused(error) from None
            raise
        await self._store.apart(lambda: self._store.end_act(act, Outcome.OK, ""))
        return answer(Done(result=found))

    async def audit(self, request: Request) -> Response:
        """What was done."""
        asked = query(request, ActsQuery)
        found, more = await asyncio.to_thread(
            lambda: self._reader.ask(lambda connection: acts(connection, before=asked.before, limit=asked.limit))
        )
        return answer(ActsView(actions=tuple(map(ActView.of, found)), next=found[-1].id if more else None))

    async def apply(self, wish: wishes.Apply) -> dict[str, Any]:
        """The finding as it then is."""
        if wish.level is Level.SUGGEST:
            raise BadRequest(422, "level: expected shadow, canary or on; finding.rollback takes a remedy back")
        fields = wish.model_dump()
        return await self._ask_logging_agent("apply", ApplyFinding(**fields))

    async def rollback(self, wish: wishes.Rollback) -> dict[str, Any]:
        """The finding as it then is."""
        return await self._ask_logging_agent(
            "apply", ApplyFinding(finding=wish.finding, level=Level.SUGGEST, by=wish.by)
        )

    async def dismiss(self, wish: wishes.Dismiss) -> dict[str, Any]:
        """The finding as it then is."""
        return await self._ask_logging_agent("dismiss", DismissFinding(**wish.model_dump()))

    async def set_policy(self, wish: wishes.SetPolicy) -> dict[str, Any]:
        """The policy as stored."""
        return (await (await self._book()).set(wish.policy)).model_dump(mode="json")

    async def remove_policy(self, wish: wishes.RemovePolicy) -> dict[str, Any]:
        """Whether there was one."""
        return {"removed": await (await self._book()).remove(wish.id)}

    async def answer_approval(self, wish: wishes.Answer) -> dict[str, Any]:
        """The approval as answered."""
        found = await self._host.approvals.answer(
            wish.id, approved=wish.approved, by=wish.by, value=wish.value, comment=wish.comment
        )
        return found.model_dump(mode="json")

    async def submit(self, wish: wishes.Submit) -> dict[str, Any]:
        """Task and run."""
        try:
            address = Address(wish.agent, wish.handler)
        except InvalidName as error:
            raise BadRequest(404, str(error)) from None
        card, handler = await self._described.find(address)
        message = message_of(card, handler, wish.message)
        key = None if wish.key is None else f"console {wish.key}"
        task = await self._client.submit(handler, message, idempotency_key=key, labels={"caller": wish.by})
        return {"task": task.id, "run": task.run}

    async def cancel(self, wish: wishes.Cancel) -> dict[str, Any]:
        """Whether it had not ended before."""
        return {"cancelled": await self._client.cancel(wish.task)}

    async def redrive(self, wish: wishes.Redrive) -> dict[str, Any]:
        """Whether anything was sent: not where the task has ended since."""
        given = wish.resolution
        resolution = None if given is None else Resolution(done=given.done, value=given.value)
        letter = await Letters(self._host.bus, self._host.tenant).get(wish.number)
        return {"sent": await self._redriver().redrive(letter, resolution)}

    async def drop(self, wish: wishes.Drop) -> dict[str, Any]:
        """That it has gone."""
        await self._redriver().drop(await Letters(self._host.bus, self._host.tenant).get(wish.number))
        return {"dropped": True}

    async def judge(self, wish: wishes.Judge) -> dict[str, Any]:
        """That it is on its way to the store."""
        await self._client.score(wish.run, wish.name, wish.value, wish.comment)
        return {"scored": True}

    def _why(self, error: BaseException) -> str:
        if self._hash is not None and isinstance(error, MessageError | ValueError):  # these quote what they found
            return f"{type(error).__name__}: what it says may be content, which is not kept"
        return error.message if isinstance(error, AntiphonError | BadRequest) else repr(error)

    async def _ask_logging_agent(self, name: str, wish: Message) -> dict[str, Any]:
        card, handler = await self._described.find(Address(_LOGGING_AGENT, name))
        message = message_of(card, handler, wish.model_dump(mode="json"))
        return (await self._client.ask(handler, message)).model_dump(mode="json")

    async def _book(self) -> PolicyBook:
        host = self._host
        return await PolicyBook.open(host.bus, host.directory, host.clock, host.tenant)

    def _redriver(self) -> Redriver:
        return Redriver(self._host.bus, self._host.clock, self._host.tenant)


ACTIONS: Final[Mapping[str, Action[Any]]] = MappingProxyType(
    {
        "finding.apply": Action(wishes.Apply, Actions.apply),
        "finding.rollback": Action(wishes.Rollback, Actions.rollback),
        "finding.dismiss": Action(wishes.Dismiss, Actions.dismiss),
        "policy.set": Action(wishes.SetPolicy, Actions.set_policy),
        "policy.remove": Action(wishes.RemovePolicy, Actions.remove_policy),
        "approval.answer": Action(wishes.Answer, Actions.answer_approval),
        "task.submit": Action(wishes.Submit, Actions.submit),
        "task.cancel": Action(wishes.Cancel, Actions.cancel),
        "letter.redrive": Action(wishes.Redrive, Actions.redrive),
        "letter.drop": Action(wishes.Drop, Actions.drop),
        "run.score": Action(wishes.Judge, Actions.judge),
    }
)
