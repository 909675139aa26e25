"""What timed models say: words that depend on the prompt's last turn alone."""

from collections.abc import Callable

from antiphon.schemas.inference import GenerateRequest
from plants.world import World


def says(world: World, words: int) -> Callable[[GenerateRequest], str]:
    """So many words; the same for the same last turn."""

    def reply(request: GenerateRequest) -> str:
        rng = world.rng("says", request.conversation[-1].text)
        return " ".join(f"{rng.randrange(10**6):06d}" for _ in range(words))

    return reply
