"""A chat completion as it is written."""

from antiphon.runtime.gateways.openai.chat import ChatAnswer
from antiphon.schemas.inference import Finish, FinishReason, TextChunk, TokenScore, TokenScores, Usage
from antiphon.schemas.openai import Head

HEAD = Head(id="chatcmpl-1", created=1, model="m", system_fingerprint="fp")


def test_an_alternative_that_is_half_a_character_has_its_own_bytes() -> None:
    """Its text cannot say them: it has a mark of replacement where they are."""
    other = TokenScore(text="\N{REPLACEMENT CHARACTER}", logprob=-1.0, bytes=(0xC3,))
    token = TokenScores(text="a", logprob=-0.5, bytes=(0x61,), top=(other,))
    answer = ChatAnswer(HEAD, 1, scored=True)
    answer.take(0, TextChunk(text="a", tokens=(token,)))
    answer.take(0, Finish(reason=FinishReason.STOP, usage=Usage()))
    found = answer.whole()["choices"][0]["logprobs"]
    assert found is not None
    assert [(each["bytes"], [like["bytes"] for like in each["top_logprobs"]]) for each in found["content"]] == [
        ([0x61], [[0xC3]])
    ]
