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

# Google's clients that the functions make. Another one needs its calls in docs/permissions.md.
CLIENTS = {
    "spanner.Client",
    "batch_v1.BatchServiceClient",
    "LoggingServiceV2Client",
    "PublisherClient",
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
