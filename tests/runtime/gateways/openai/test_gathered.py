import math

from antiphon.runtime.gateways.openai.gathered import Gathered, logprob, usage_of
from antiphon.schemas.inference import Finish, FinishReason, TokenScore, Usage


def reply(read: int, written: int, cached: int | None) -> Gathered:
    """A reply that has ended."""
    found = Gathered()
    usage = Usage(input_tokens=read, output_tokens=written, cached_tokens=cached)
    found.take(Finish(reason=FinishReason.STOP, usage=usage))
    return found


def test_a_prompt_counts_once() -> None:
    """However many replies it has; of its cached tokens those of its first reply."""
    found = usage_of([reply(5, 1, 2), reply(5, 2, 5), reply(7, 3, 0), reply(7, 4, 7)], each=2)
    assert found == {
        "prompt_tokens": 12,
        "completion_tokens": 10,
        "total_tokens": 22,
        "prompt_tokens_details": {"cached_tokens": 2},
    }


def test_what_nobody_says_is_null() -> None:
    """Not 0: that would say that nothing was cached."""
    assert usage_of([reply(5, 1, None)], each=1)["prompt_tokens_details"] is None


def test_the_impossible_can_be_written() -> None:
    """JSON has no infinity."""
    assert logprob(TokenScore(text="x", logprob=-math.inf, bytes=(120,))) == -9999.0
