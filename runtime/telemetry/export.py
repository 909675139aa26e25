"""Whether and where spans go by OTLP, as OpenTelemetry's standard variables say.

https://opentelemetry.io/docs/specs/otel/protocol/exporter/. Endpoint, headers, protocol and resource are read here;
certificates, compression, timeout and the batch processor's OTEL_BSP_* are left to the SDK, which reads them itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from antiphon.runtime.errors import ConfigurationError

if TYPE_CHECKING:
    from antiphon.runtime.telemetry.otlp import OtlpSink

_BASE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACES: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpTarget:
    """A receiver of OTLP over HTTP, and how we introduce ourselves."""

    endpoint: str
    headers: Mapping[str, str]
    resource: Mapping[str, str]


def otlp_target(environ: Mapping[str, str], *, node: str) -> OtlpTarget | None:
    """The target that ``environ`` asks for, or None.

    Raises:
        ConfigurationError: a variable that cannot be used; the message names it and the accepted form.
    """
    endpoint, variable = environ.get(_TRACES, ""), _TRACES
    if not endpoint and environ.get(_BASE):
        endpoint, variable = environ[_BASE].rstrip("/") + "/v1/traces", _BASE
    wanted = environ.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"
    if not endpoint or not wanted or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).netloc:
        raise ConfigurationError(f"{variable} is {environ[variable]!r}, expected a URL such as http://localhost:4318")
    _check_protocol(environ)
    resource = {"service.name": "antiphon", "service.instance.id": node}
    resource.update(_pairs(environ, "OTEL_RESOURCE_ATTRIBUTES"))
    if environ.get("OTEL_SERVICE_NAME"):
        resource["service.name"] = environ["OTEL_SERVICE_NAME"]
    headers = _pairs(environ, "OTEL_EXPORTER_OTLP_HEADERS") | _pairs(environ, "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
    return OtlpTarget(
        endpoint=endpoint, headers={key.lower(): value for key, value in headers.items()}, resource=resource
    )


def otlp_sink(environ: Mapping[str, str], *, node: str) -> "OtlpSink | None":
    """A sink that exports by OTLP, if ``environ`` asks for one; only then is the SDK imported (0.2 s).

    Raises:
        ConfigurationError: as ``otlp_target``.
    """
    target = otlp_target(environ, node=node)
    if target is None:
        return None
    from antiphon.runtime.telemetry.otlp import OtlpSink

    return OtlpSink(target)


def _check_protocol(environ: Mapping[str, str]) -> None:
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = environ.get(variable, "")
        if protocol == "http/protobuf":
            return
        if protocol:
            raise ConfigurationError(f"{variable} is {protocol!r}, expected http/protobuf (usually port 4318)")


def _pairs(environ: Mapping[str, str], variable: str) -> dict[str, str]:
    out: dict[str, str] = {}
    for pair in environ.get(variable, "").split(","):
        key, equals, value = pair.partition("=")
        if equals and key.strip():
            out[unquote(key).strip()] = unquote(value).strip()
        elif pair.strip():  # its value may be a secret: only its length is said
            raise ConfigurationError(f"{variable} has an item of {len(pair)} characters, expected KEY=VALUE,KEY=VALUE")
    return out
