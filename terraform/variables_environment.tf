variable "environment" {
  description = "Further variables of the functions, such as OTEL_EXPORTER_OTLP_ENDPOINT. No secrets, which have `secret_environment`: whoever may see the function sees these."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([
      for name in keys(var.environment) : can(regex("^[A-Z][A-Z0-9_]*$", name)) && !endswith(name, "EMULATOR_HOST") && !contains(["GOOGLE_CLOUD_PROJECT", "PORT", "THREADS"], name) && !startswith(name, "JENNAH_") && !startswith(name, "SPANNER_") && !startswith(name, "FUNCTION_")
    ])
    error_message = "environment must not hold Jennah's own settings, which have variables here, nor PORT, FUNCTION_* or an emulator's address."
  }

  validation {
    # As shared/telemetry_settings.py reads them. The functions' archive has no exporters but these.
    condition = lower(trimspace(lookup(var.environment, "OTEL_SDK_DISABLED", ""))) == "true" || alltrue(flatten([
      for signal in ["TRACES", "METRICS"] : [
        for exporter in split(",", lookup(var.environment, "OTEL_${signal}_EXPORTER", "")) :
        contains(["", "none", "otlp", "otlp_proto_http", "console"], trimspace(exporter))
      ]
    ]))
    error_message = "environment: OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER must be none, otlp, otlp_proto_http or console, or several with commas: the functions have no other exporter."
  }
}

variable "secret_environment" {
  description = <<-EOT
    Further variables of the functions whose values are secrets, such as OTEL_EXPORTER_OTLP_HEADERS: a version of a secret
    of this project's Secret Manager, which is read when an instance starts. Only the functions that are named get the
    variable, and the right to read that secret. The secret is yours to make, and its value is never in Terraform's state.
  EOT
  type = map(object({
    secret    = string
    version   = string
    functions = optional(set(string), ["submission", "scheduling", "notification", "reconciliation"])
  }))
  default = {}

  validation {
    condition = alltrue([
      for name in keys(var.secret_environment) : can(regex("^[A-Z][A-Z0-9_]*$", name)) && !endswith(name, "EMULATOR_HOST") && !contains(["GOOGLE_CLOUD_PROJECT", "PORT", "THREADS"], name) && !startswith(name, "JENNAH_") && !startswith(name, "SPANNER_") && !startswith(name, "FUNCTION_")
    ])
    error_message = "secret_environment must not hold Jennah's own settings, of which none is secret, nor PORT, FUNCTION_* or an emulator's address."
  }

  validation {
    condition     = length(setintersection(keys(var.secret_environment), keys(var.environment))) == 0
    error_message = "secret_environment and environment name the same variable: leave it out of one."
  }

  validation {
    # Here, because the endpoint, which alone chooses otlp, may be a secret, and only one of two variables can name the other.
    condition = lower(trimspace(lookup(var.environment, "OTEL_SDK_DISABLED", ""))) == "true" || alltrue([
      for signal in ["TRACES", "METRICS"] :
      coalesce(
        lookup(var.environment, "OTEL_EXPORTER_OTLP_${signal}_PROTOCOL", ""),
        lookup(var.environment, "OTEL_EXPORTER_OTLP_PROTOCOL", ""),
        "http/protobuf"
      ) == "http/protobuf" ||
      !contains([for exporter in split(",", coalesce(
        lookup(var.environment, "OTEL_${signal}_EXPORTER", ""),
        anytrue([
          for name in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_${signal}_ENDPOINT"] :
          lookup(var.environment, name, "") != "" || contains(keys(var.secret_environment), name)
        ]) ? "otlp" : "none"
      )) : trimspace(exporter)], "otlp")
    ])
    error_message = "environment: where otlp exports, OTEL_EXPORTER_OTLP_PROTOCOL (or that of TRACES or METRICS) must be http/protobuf or not set: the functions have no exporter for grpc."
  }

  validation {
    condition = alltrue([
      for entry in values(var.secret_environment) : can(regex("^[A-Za-z0-9_-]{1,255}$", entry.secret)) && can(regex("^[1-9][0-9]*$", entry.version))
    ])
    error_message = "secret_environment: secret must be the id of a secret of this project, and version a number: `latest` would change under running functions."
  }

  validation {
    condition = alltrue([
      for entry in values(var.secret_environment) : length(entry.functions) > 0 && length(setsubtract(entry.functions, ["submission", "scheduling", "notification", "reconciliation"])) == 0
    ])
    error_message = "secret_environment: functions must be some of submission, scheduling, notification and reconciliation."
  }
}
