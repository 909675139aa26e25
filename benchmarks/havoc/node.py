"""The program of one node: ``python -m havoc.node FOLDER NAME``, the bus from ANTIPHON_* variables. SIGTERM drains."""

import asyncio
import signal
import sys
from pathlib import Path

import structlog

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.compose import open_host
from antiphon.runtime.errors import BusUnavailable
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.node import Node
from antiphon.runtime.settings import load_settings
from antiphon.runtime.telemetry.logs import configure_logging
from havoc.agents import SAYING, agents
from havoc.ledger import Diary, Ledger

MODEL = "scripted"
TOKEN_S = 0.01
READY = "ready"


async def serve(folder: Path, name: str) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = load_settings().model_copy(update={"default_model": MODEL})
    configure_logging("info", clock=SystemClock())
    models = ModelRegistry(settings, instances={MODEL: ScriptedModel(lambda _: SAYING, token_s=TOKEN_S)})
    honours = Ledger(folder / "honours.db", honours_keys=True)
    ignores = Ledger(folder / "ignores.db", honours_keys=False)
    served = agents(name, honours, ignores, Diary(folder / "diary"))
    async with open_host(settings, node=name, models=models) as host, Node(host, served):
        print(READY, flush=True)
        await stop.wait()
    await models.close()


def main() -> int:
    """The exit status: 1 where the bus was away when the node wanted to start; whoever keeps it starts it again."""
    try:
        asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
    except BusUnavailable as error:
        structlog.get_logger().warning("node_not_started", error=error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
