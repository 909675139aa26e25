"""What was said of findings, in the order in which the stream took it: the memory of whoever reports or decides."""

import structlog

from antiphon.runtime.bus.base import Streams
from antiphon.runtime.bus.topology import FINDINGS
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import ConfigurationError, InvalidMessage
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.finding import Finding

log = structlog.get_logger()


class FindingLog:
    """The findings of one tenant on the bus; the last message of an id is what is true of it."""

    def __init__(self, streams: Streams, tenant: str) -> None:
        self._streams = streams
        self._tenant = tenant
        self._after = 0

    async def append(self, finding: Finding) -> None:
        """Report a finding. Raises BusError."""
        subject = subjects.finding(self._tenant, finding.pattern)
        await self._streams.append(subject, encode(finding), Envelope(type=Finding.message_name).headers())

    async def news(self) -> list[tuple[Finding, int]]:
        """What was said since the last call, the first time everything that is kept, each with its unix ms.

        Messages that are no findings are logged and left out. Raises BusError.
        """
        found: list[tuple[Finding, int]] = []
        after = self._after
        every = subjects.every(subjects.Kind.FINDING, self._tenant)
        async for message in self._streams.read(FINDINGS.name, every, after=after):
            after = message.sequence
            try:
                found.append((decode(Finding, message.body), message.unix_ms))
            except InvalidMessage as error:
                log.warning("finding_unreadable", sequence=message.sequence, error=error.message)
        self._after = after
        return found

    async def all(self) -> dict[str, Finding]:
        """The last word on every finding, by id. Raises BusError."""
        return {finding.id: finding for finding, _ in await FindingLog(self._streams, self._tenant).news()}

    async def find(self, prefix: str) -> Finding:
        """The last word on the one finding whose id begins so.

        Raises:
            ConfigurationError: there is none, or there are several.
            BusError: the stream cannot be read.
        """
        found = [finding for id, finding in (await self.all()).items() if prefix and id.startswith(prefix)]
        if not found:
            raise ConfigurationError(f"no finding begins with {prefix!r}: `antiphon findings` lists them")
        if len(found) > 1:
            raise ConfigurationError(f"{prefix!r} is the beginning of {len(found)} findings: give more of it")
        return found[0]
