"""From scores to a token."""

import torch

from antiphon.schemas.inference import Sampling


class Sampler:
    """Draws the tokens of one request; the same seed and scores give the same tokens."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = torch.Generator()
        if sampling.seed is not None:
            self._random.manual_seed(sampling.seed)
        else:
            self._random.seed()

    def sample(self, logits: torch.Tensor, allowed: bytes | None = None) -> int:
        """One id from float32 ``logits`` [vocabulary]; where ``allowed`` has a zero byte, never that id.

        Temperature, then top-k, then top-p (arXiv 1904.09751): the smallest set whose probability reaches top-p.
        """
        logits = logits.cpu()
        if allowed is not None:
            mask = torch.frombuffer(bytearray(allowed), dtype=torch.uint8)[: logits.shape[0]]
            logits = logits.masked_fill(mask == 0, float("-inf"))
        sampling = self._sampling
        if sampling.temperature == 0:
            return int(logits.argmax())
        # Shifted first, so that a tiny temperature sends the rest to minus infinity and not the best to plus infinity.
        logits = (logits - logits.max()) / max(sampling.temperature, 1e-6)
        ids: torch.Tensor | None = None
        if 0 < sampling.top_k < logits.shape[0]:
            logits, ids = logits.topk(sampling.top_k)
        probabilities = logits.softmax(-1)
        if sampling.top_p < 1:
            probabilities, order = probabilities.sort(descending=True)
            ids = order if ids is None else ids[order]
            before = probabilities.cumsum(-1) - probabilities
            probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)
        drawn = torch.multinomial(probabilities, 1, generator=self._random)
        return int(drawn if ids is None else ids[drawn])
