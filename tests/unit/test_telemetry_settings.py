"""OpenTelemetry's settings: what switches traces and metrics on, and what is refused at start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.semconv._incubating.attributes import (
    faas_attributes,
    http_attributes,
    messaging_attributes,
    rpc_attributes,
)
from opentelemetry.semconv.attributes import error_attributes

from shared import semantics
from shared.config import Settings
from shared.errors import SettingsError
from shared.semantics import Attribute, Metric
from shared.telemetry_settings import TelemetrySettings, telemetry_setting

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "telemetry.md").read_text()
OTLP = ("otlp_proto_http",)
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        ({}, (), ()),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": ""}, (), ()),
        (ENDPOINT, OTLP, OTLP),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x/v1/traces"}, OTLP, ()),
        ({**ENDPOINT, "OTEL_METRICS_EXPORTER": "none"}, OTLP, ()),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, OTLP, ()),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ("console", *OTLP), ()),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, (), ()),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, OTLP, OTLP),
    ],
)
def test_what_leaves_the_process(
    environ: dict[str, str], traces: tuple[str, ...], metrics: tuple[str, ...]
) -> None:
    settings = telemetry_setting(environ)
    assert (settings.traces, settings.metrics) == (traces, metrics)
    assert settings.on == bool(traces or metrics)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: there is no exporter 'zipkin'"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "must be http/protobuf or grpc"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "no exporter 'otlp_proto_grpc'"),
    ],
)
def test_what_is_not_there_is_refused_at_start(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        telemetry_setting(environ)


@pytest.mark.parametrize(
    ("environ", "service"),
    [({}, "jennah"), ({"FUNCTION_TARGET": "notify"}, "jennah-notify"), ({"K_SERVICE": "n"}, "n")],
)
def test_a_process_has_a_name(environ: dict[str, str], service: str) -> None:
    assert telemetry_setting(environ).service == service


def test_it_is_off_by_default() -> None:
    settings = Settings.from_env({"GOOGLE_CLOUD_PROJECT": "p", "SPANNER_INSTANCE": "i"})
    assert settings.telemetry == TelemetrySettings()


def test_the_console_shows_one_line_a_span_and_leaves_standard_output_alone() -> None:
    code = (
        "from shared import tracing\nfrom shared.otel import Otel\n"
        "from shared.telemetry_settings import telemetry_setting\nimport os\n"
        "tracing.install(Otel(telemetry_setting(os.environ)))\n"
        "with tracing.request({}.get), tracing.span('a'), tracing.span('b'):\n"
        "    tracing.count('jennah.reconcile.repairs', {})\n"
    )
    env = {**os.environ, "OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    shown = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["name"] for line in shown if "name" in line} == {"a", "b"}
    assert any("resource_metrics" in line for line in shown)


def test_names_are_those_of_the_conventions() -> None:
    modules = (error_attributes, faas_attributes, http_attributes, messaging_attributes, rpc_attributes)
    conventions = {
        name: value for module in modules for name, value in vars(module).items() if name.isupper()
    }
    own = [attribute for attribute in Attribute if attribute.startswith("jennah.")]
    others = {attribute.name: attribute.value for attribute in Attribute if attribute not in own}
    assert others
    assert others == {name: conventions[name] for name in others}
    assert messaging_attributes.MessagingSystemValues.GCP_PUBSUB.value == semantics.PUBSUB
    assert rpc_attributes.RpcSystemNameValues.GRPC.value == semantics.GRPC
    assert http_attributes.HttpRequestMethodValues.OTHER.value == semantics.OTHER_METHOD


def test_the_page_lists_every_instrument() -> None:
    assert [name for name in Metric if f"| `{name}` |" not in PAGE] == []
