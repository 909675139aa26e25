"""MLPerf LoadGen's scenarios, with the limits of its llama3.1-8b Server benchmark."""

import tempfile
from pathlib import Path
from typing import Any

import mlperf_loadgen  # type: ignore[import-not-found]  # a C++ extension without types

from loadgen_cases.system import System
from loadgen_cases.verdict import Verdict, read

MIN_DURATION_S = 600
TTFT_S, TPOT_S = 2.0, 0.1  # at the 99th percentile
SERVER_QUERIES = 662  # early stopping's count for the 99th percentile with one query past a limit
EARLY_QUERIES = 64  # early stopping's count for SingleStream's 90th percentile
FASTEST_S = 0.01  # that SingleStream's replies may take: LoadGen makes queries for the whole run beforehand


def offline(system: System, samples: int, *, expected_qps: float) -> Verdict:
    """All requests at once: so many that they fill the duration at ``expected_qps``, or ``samples`` if that is more."""
    settings = _settings(mlperf_loadgen.TestScenario.Offline, samples)
    settings.offline_expected_qps = expected_qps
    return _play(settings, system)


def single_stream(system: System, *, most_s: float | None) -> Verdict:
    """One request after the other; ended after ``most_s`` (None: once LoadGen has seen enough)."""
    settings = _settings(mlperf_loadgen.TestScenario.SingleStream, EARLY_QUERIES)
    settings.single_stream_expected_latency_ns = int(1e9 * FASTEST_S)
    settings.max_duration_ms = int(1e3 * (most_s or 0))
    return _play(settings, system)


def server(system: System, *, qps: float, most_s: float | None) -> Verdict:
    """Requests that arrive as a Poisson process of ``qps``, whether or not the earlier ones have ended."""
    settings = _settings(mlperf_loadgen.TestScenario.Server, SERVER_QUERIES)
    settings.server_target_qps = qps
    settings.max_duration_ms = int(1e3 * (most_s or 0))
    return _play(settings, system)


def _settings(scenario: Any, min_queries: int) -> Any:
    settings = mlperf_loadgen.TestSettings()
    settings.scenario = scenario
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    settings.use_token_latencies = True
    settings.ttft_latency = int(1e9 * TTFT_S)
    settings.tpot_latency = int(1e9 * TPOT_S)
    settings.min_duration_ms = 1000 * MIN_DURATION_S
    settings.min_query_count = min_queries
    return settings


def _play(settings: Any, system: System) -> Verdict:
    """Run it to its end. Raises what a request failed with: figures of such a run mean nothing."""
    with tempfile.TemporaryDirectory(prefix="loadgen-") as folder:
        logs = mlperf_loadgen.LogSettings()
        logs.log_output.outdir = folder
        logs.enable_trace = False
        count = len(system.shapes)
        sut = mlperf_loadgen.ConstructSUT(system.issue, lambda: None)
        qsl = mlperf_loadgen.ConstructQSL(count, count, lambda indices: None, lambda indices: None)
        try:
            mlperf_loadgen.StartTestWithLogSettings(sut, qsl, settings, logs)
        finally:
            mlperf_loadgen.DestroyQSL(qsl)
            mlperf_loadgen.DestroySUT(sut)
        if system.error is not None:
            raise system.error
        return read(Path(folder))
