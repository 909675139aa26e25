"""What the standard variables ask for."""

import sys
from pathlib import Path
from subprocess import run

import pytest

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.telemetry.export import otlp_sink, otlp_target

HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318/"}


def test_nothing_is_exported_unless_asked() -> None:
    """Without an endpoint, or with export switched off, there is no target."""
    assert otlp_target({}, node="n") is None
    assert otlp_target({**HERE, "OTEL_SDK_DISABLED": "TRUE"}, node="n") is None
    assert otlp_target({**HERE, "OTEL_TRACES_EXPORTER": "none"}, node="n") is None
    assert otlp_sink({}, node="n") is None


def test_the_base_endpoint_gets_the_standard_path() -> None:
    """The general variable is a base, the one for traces is taken as it is and wins."""
    base = otlp_target(HERE, node="n")
    traces = otlp_target({**HERE, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://h/x"}, node="n")
    assert base is not None and base.endpoint == "http://localhost:4318/v1/traces"
    assert traces is not None and traces.endpoint == "https://h/x"


def test_headers_and_resource_are_read() -> None:
    """Keys and values may be percent-encoded; the special variable wins over the general one."""
    target = otlp_target(
        {
            **HERE,
            "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20abc, x=1",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x=2",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test,service.name=other",
            "OTEL_SERVICE_NAME": "newsroom",
        },
        node="n1",
    )
    assert target is not None
    assert target.headers == {"authorization": "Basic abc", "x": "2"}
    assert target.resource == {
        "service.name": "newsroom",
        "service.instance.id": "n1",
        "deployment.environment": "test",
    }


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT is 'localhost:4317'"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "nonsense"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is 'nonsense'"),
        ({**HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'"),
        ({**HERE, "OTEL_EXPORTER_OTLP_HEADERS": "secret"}, "OTEL_EXPORTER_OTLP_HEADERS has an item of 6 characters"),
    ],
)
def test_a_bad_value_names_its_variable(environ: dict[str, str], named: str) -> None:
    """The message says which variable is wrong and what is accepted."""
    with pytest.raises(ConfigurationError, match=f"^{named}.*expected"):
        otlp_target(environ, node="n")


def test_the_sdk_is_not_imported_for_nothing() -> None:
    """Tracing without OTLP does not load the SDK."""
    code = (
        "import sys\n"
        "import antiphon.runtime.telemetry.setup\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.sdk')]\n"
    )
    root = Path(__file__).parents[3]
    done = run(
        [sys.executable, "-P", "-c", code], env={"PYTHONPATH": str(root / "src")}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
