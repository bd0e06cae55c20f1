"""What was looked at and is right as it is, each with its reason. There are no other exceptions."""

from __future__ import annotations

# The schema is that of provider 6.50, the configuration is for 7.x. Arguments that 7 took away must not be
# used, though the schema has them; what 7 added and is used would stand in ADDED_IN_7. Source: the provider's
# upgrade guide for 7.0.0.
REMOVED_IN_7 = {
    ("google_cloudfunctions2_function", "service_config.service"): "can only be read in 7",
    ("google_compute_subnetwork", "enable_flow_logs"): "log_config took its place",
    ("google_storage_bucket", "retention_policy.retention_period"): "a number in 6, a string in 7",
}
ADDED_IN_7: dict[tuple[str, str], str] = {}

# Blocks that are `dynamic`, and so may be absent.
DYNAMIC = {
    ("google_cloudfunctions2_function.functions", "secret_environment_variables"): "each function's own",
    ("google_monitoring_alert_policy.thresholds", "denominator_aggregations"): "only a ratio has one",
    ("google_spanner_instance.new", "autoscaling_config"): "unless the size is fixed",
}
# Arguments whose changes Terraform leaves alone.
IGNORED_CHANGES = {
    "google_spanner_database.new": {"ddl": "the schema is not Terraform's, `jennah migrate` makes it"},
}

# Variables that functions read and Terraform does not set.
NOT_SET = {
    "SPANNER_EMULATOR_HOST": "the address of a local stand-in: in production there is none",
    "BATCH_EMULATOR_HOST": "the address of a local stand-in: in production there is none",
    "LOGGING_EMULATOR_HOST": "the address of a local stand-in: in production there is none",
    "PUBSUB_EMULATOR_HOST": "the address of a local stand-in: in production there is none",
    "FUNCTION_TARGET": "Cloud Functions sets it",
    "K_SERVICE": "Cloud Run sets it",
    **dict.fromkeys(
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_METRICS_EXPORTER",
            "OTEL_SDK_DISABLED",
            "OTEL_TRACES_EXPORTER",
        ),
        "off unless asked for, in the variable `environment`: most OTEL_* settings are the SDK's",
    ),
}

# Where the environment is read, or changed.
ENVIRONMENT = {
    (
        "shared.wiring",
        "Settings.from_env(os.environ)",
    ): "all settings: the rule `environment` knows their names",
    (
        "shared.wiring",
        "os.environ.setdefault('GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW', 'false')",
    ): "a setting of Spanner's client, only with its emulator",
    (
        "shared.cold_start",
        "os.environ.setdefault('GRPC_SINGLE_THREADED_UNARY_STREAM', '1')",
    ): "a setting of gRPC: no thread for each stream",
}

# What is imported of Google's packages, by whichever module: values, types, errors. What could connect is in
# CLIENTS, too.
GOOGLE = {
    "google.api_core": {"exceptions"},
    "google.api_core.datetime_helpers": {"DatetimeWithNanoseconds"},
    "google.api_core.exceptions": {
        "GoogleAPICallError",
        "GoogleAPIError",
        "RetryError",
        "ServiceUnavailable",
    },
    "google.api_core.retry": {"Retry", "if_exception_type"},
    "google.cloud": {"batch_v1", "spanner"},
    "google.cloud.batch_v1.services.batch_service.transports": {"BatchServiceGrpcTransport"},
    "google.cloud.logging_v2.services.logging_service_v2": {"LoggingServiceV2Client"},
    "google.cloud.logging_v2.services.logging_service_v2.transports": {"LoggingServiceV2GrpcTransport"},
    "google.cloud.logging_v2.types": {"ListLogEntriesRequest", "LogEntry"},
    "google.cloud.spanner_v1": {"COMMIT_TIMESTAMP", "JsonObject", "KeyRange", "KeySet", "param_types"},
    "google.cloud.spanner_v1.batch": {"Batch"},
    "google.cloud.spanner_v1.database": {"Database"},
    "google.cloud.spanner_v1.pool": {"BurstyPool"},
    "google.cloud.spanner_v1.services.spanner": {"SpannerClient"},
    "google.cloud.spanner_v1.transaction": {"Transaction"},
    "google.logging.type.log_severity_pb2": {"LogSeverity"},
    "google.protobuf.json_format": {"MessageToJson"},
    "google.pubsub_v1": {"PublisherClient"},
    "google.pubsub_v1.services.publisher.transports": {"PublisherGrpcTransport"},
    "google.pubsub_v1.types": {"PubsubMessage"},
}

_ADAPTER = "the adapter: its calls are known, and are in docs/permissions.md"
# Google's clients, with what carries their calls, and the one module that mentions each.
CLIENTS = (
    dict.fromkeys(
        (
            ("shared.batch_client", "google.cloud.batch_v1.BatchServiceClient"),
            (
                "shared.batch_client",
                "google.cloud.batch_v1.services.batch_service.transports.BatchServiceGrpcTransport",
            ),
            (
                "shared.log_client",
                "google.cloud.logging_v2.services.logging_service_v2.LoggingServiceV2Client",
            ),
            (
                "shared.log_client",
                "google.cloud.logging_v2.services.logging_service_v2.transports.LoggingServiceV2GrpcTransport",
            ),
            ("shared.publisher", "google.pubsub_v1.PublisherClient"),
            ("shared.publisher", "google.pubsub_v1.services.publisher.transports.PublisherGrpcTransport"),
        ),
        "an adapter: its calls are known, and are in docs/permissions.md",
    )
    | dict.fromkeys(
        (
            ("shared.database", "google.cloud.spanner.Client"),
            ("shared.database", "google.cloud.spanner_v1.services.spanner.SpannerClient"),
        ),
        "the one connection; what is called on it is known by its names",
    )
    | dict.fromkeys(
        (
            ("shared.wiring", "shared.batch_client.connect"),
            ("shared.wiring", "shared.database.connect"),
            ("shared.wiring", "shared.publisher.connect"),
        ),
        "gives what it gets to the one who calls on it",
    )
)

# What could reach something without a client of Google's, or use what is imported nowhere.
WAYS_OUT = {
    ("shared.batch_client", "grpc"): "the channel to a local stand-in",
    ("shared.log_client", "grpc"): "the channel to a local stand-in, and the limit of an answer's size",
    ("shared.publisher", "grpc"): "the channel to the emulator",
    ("shared.signing_keys", "urllib.request"): "issuers' keys, which are public: it bears no token",
    ("shared.signing_keys", "http.client"): "the same, within bounds",
    ("shared.signing_keys", "socket"): "the same: ended in time",
    ("shared.bodies", "socket"): "a request's own connection, ended in time",
    ("shared.streams", "socket"): "a request's own connection: whether its caller is still there",
    ("shared.otel", "socket"): "the host's name, for what is measured",
    ("shared.otel", "importlib.metadata"): (
        "an exporter, which is imported where OTEL_*_EXPORTER in the variable `environment` names it, and "
        "reads OTEL_* variables of its own; it calls nothing of Google's"
    ),
    ("shared.telemetry_settings", "importlib.metadata"): "the names of installed exporters; none is imported",
    (
        "shared.cold_start",
        "sys.modules",
    ): "Cloud Monitoring's client counts as not installed: one import less",
}

# The service that each kind of resource belongs to, by the beginning of its name.
SERVICES = {
    "google_artifact_registry": "artifactregistry",
    "google_cloud_run": "run",
    "google_cloud_scheduler": "cloudscheduler",
    "google_cloudfunctions2": "cloudfunctions",
    "google_compute": "compute",
    "google_logging": "logging",
    "google_monitoring": "monitoring",
    "google_project_iam": "cloudresourcemanager",
    "google_pubsub": "pubsub",
    "google_secret_manager": "secretmanager",
    "google_service_account": "iam",
    "google_spanner": "spanner",
    "google_storage": "storage",
}
# What no resource stands for and is needed: Batch by the functions, Cloud Build by their deployment, IAM
# Credentials by `jennah login --impersonate`, Secret Manager by jobs with secrets.
OTHER_SERVICES = {"batch", "cloudbuild", "iamcredentials", "secretmanager"}
