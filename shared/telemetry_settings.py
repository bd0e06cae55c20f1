"""Which telemetry leaves the process: OpenTelemetry's own settings. Standard library only.

Here it is only decided whether anything does, and by which exporters; all other OTEL_* settings are read by
the libraries of OpenTelemetry themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points

from shared.errors import SettingsError

_OTLP_PROTOCOLS: Mapping[str, str] = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """What leaves the process.

    Attributes:
        traces: names of exporters, as their packages register them; none: off.
        metrics: the same.
        service: what the process is called, unless OTEL_SERVICE_NAME says otherwise.
    """

    traces: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    service: str = "jennah"

    @property
    def on(self) -> bool:
        """Whether anything leaves the process."""
        return bool(self.traces or self.metrics)


def telemetry_setting(environ: Mapping[str, str]) -> TelemetrySettings:
    """Read OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER; unset, they are `otlp` where an endpoint is set.

    Raises:
        SettingsError: there is no such exporter here.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return TelemetrySettings()
    target = environ.get("FUNCTION_TARGET")
    return TelemetrySettings(
        traces=_exporters(environ, "traces"),
        metrics=_exporters(environ, "metrics"),
        service=environ.get("K_SERVICE") or (f"jennah-{target}" if target else "jennah"),
    )


def _exporters(environ: Mapping[str, str], signal: str) -> tuple[str, ...]:
    setting = f"OTEL_{signal.upper()}_EXPORTER"
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    default = "otlp" if any(environ.get(name) for name in endpoints) else "none"
    names = [name.strip() for name in (environ.get(setting) or default).split(",")]
    chosen = tuple(_registered(environ, signal, name) for name in names if name not in {"", "none"})
    if not chosen:
        return ()
    known = {entry.name for entry in entry_points(group=f"opentelemetry_{signal}_exporter")}
    for name in chosen:
        if name not in known:
            raise SettingsError(
                f"{setting}: there is no exporter {name!r} here: install jennah[telemetry] for otlp, "
                f"or choose from {', '.join(sorted(known | {'none'}))}."
            )
    return chosen


def _registered(environ: Mapping[str, str], signal: str, name: str) -> str:
    if name != "otlp":
        return name
    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
    protocol = own or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    if protocol not in _OTLP_PROTOCOLS:
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL must be {' or '.join(_OTLP_PROTOCOLS)}, not {protocol!r}."
        )
    return _OTLP_PROTOCOLS[protocol]
