"""llama.cpp on the same file; run by the Python of an environment that has llama-cpp-python.

Reads the name of a case a line, answers with tokens per second a line. Arguments: GGUF file, threads, plain or extra
(whether llama.cpp may use its extra buffer types, see ``llama_rival``).
"""

import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import llama_cpp  # type: ignore[import-not-found]  # in an environment of its own
import numpy as np

Ids = Sequence[int]
PATH, THREADS, EXTRA = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "extra"
STREAMS, PROMPT, START, ROUNDS = 16, 512, 32, 32


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def quiet(_level: Any, _text: Any, _data: Any) -> None:
    """Say nothing."""


def context(streams: int, tokens: int) -> Any:
    """A context for so many sequences."""
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch, settings.n_seq_max = tokens, 2048, 512, streams
    settings.n_threads = settings.n_threads_batch = THREADS
    return llama_cpp.llama_init_from_model(model, settings)


def decode(where: Any, tokens: Ids, positions: Ids, streams: Ids, wanted: Ids) -> None:
    """One batch."""
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for at in range(len(tokens)):
        batch.token[at], batch.pos[at], batch.n_seq_id[at] = tokens[at], positions[at], 1
        batch.seq_id[at][0], batch.logits[at] = streams[at], wanted[at]
    if llama_cpp.llama_decode(where, batch):
        raise RuntimeError("llama_decode failed")
    llama_cpp.llama_batch_free(batch)


def best(where: Any, at: int) -> int:
    """The likeliest token."""
    return int(np.argmax(np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(where, at), (VOCABULARY,))))


def prompt_case() -> float:
    """A prompt of 512 tokens."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(single), True)
    began = time.perf_counter()
    decode(single, WORDS, range(PROMPT), [0] * PROMPT, [0] * (PROMPT - 1) + [1])
    best(single, -1)
    return PROMPT / (time.perf_counter() - began)


def decode_case(where: Any, streams: int) -> float:
    """Greedy decoding of so many sequences at once: by the median step."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(where), True)
    for stream in range(streams):
        prompt = WORDS[stream : stream + START]
        decode(where, prompt, range(START), [stream] * START, [0] * (START - 1) + [1])
    tokens = [5] * streams
    steps = []
    for step in range(ROUNDS):
        began = time.perf_counter()
        decode(where, tokens, [START + step] * streams, range(streams), [1] * streams)
        tokens = [best(where, at) for at in range(streams)]
        steps.append(time.perf_counter() - began)
    return streams / statistics.median(steps)


llama_cpp.llama_log_set(quiet, None)
llama_cpp.llama_backend_init()
model_settings = llama_cpp.llama_model_default_params()
model_settings.use_extra_bufts = EXTRA
model = llama_cpp.llama_model_load_from_file(PATH.encode(), model_settings)
VOCABULARY = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
WORDS = np.random.default_rng(0).integers(100, 40_000, PROMPT).tolist()
single, many = context(1, 1024), context(STREAMS, STREAMS * 128)
CASES = {
    "decode1": lambda: decode_case(single, 1),
    "decode16": lambda: decode_case(many, STREAMS),
    "prefill": prompt_case,
}
print(CASES["prefill"]() and "ready", flush=True)
for line in sys.stdin:
    print(CASES[line.strip()](), flush=True)
