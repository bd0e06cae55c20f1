locals {
  names = { for name, function in google_cloudfunctions2_function.functions : name => function.name }

  # What the functions say, as Cloud Run files it.
  function_logs = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=~\"^${var.deployment}-(${join("|", keys(local.functions))})$\""

  # Events that are counted, and each of which somebody must look at: by the field `event` of their lines (docs/telemetry.md),
  # and by numbers that other fields must be above. A test finds all of them in the code.
  log_events = {
    platform_faults = {
      title    = "No Batch job can be made"
      event    = "platform_fault"
      severity = "ERROR"
      meaning  = "Jobs wait because of permissions or configuration, not for a fault of their own. After two days they fail."
    }
    orphans = {
      title    = "Orphans in Batch"
      event    = "orphan_cancelled"
      severity = "WARNING"
      meaning  = "A Batch job ran for nobody, and was cancelled. One may be left by a lost database; many are a bug."
    }
    orphan_floods = {
      title    = "Too many orphans in Batch"
      event    = "orphans_left_alone"
      severity = "ERROR"
      meaning  = "So many Batch jobs have no row that none is cancelled: the database or the label is likelier wrong than Batch."
    }
    stuck_jobs = {
      title    = "Jobs are stuck"
      event    = "reconcile_tick"
      above    = { overdue_seconds = 900 }
      severity = "ERROR"
      meaning  = "Jobs wait for a check that is long past: reconciliation fails at them or can't keep up."
    }
    failed_checks = {
      title    = "Reconciliation fails at a job"
      event    = "check_failed"
      severity = "ERROR"
      meaning  = "One job's check ended in an unexpected error; the others go on."
    }
    foreign_names = {
      title    = "A foreign Batch job has our name"
      event    = "name_taken"
      severity = "ERROR"
      meaning  = "Somebody else makes Batch jobs with this deployment's names; the job failed."
    }
  }

  log_event_filters = {
    for key, event in local.log_events : key => join(" AND ", concat(
      [local.function_logs, "jsonPayload.event=\"${event.event}\""],
      [for field, number in try(event.above, {}) : "jsonPayload.${field}>${number}"],
    ))
  }
}

resource "google_logging_metric" "events" {
  for_each = local.log_events

  project     = var.project_id
  name        = "${var.deployment}_${each.key}"
  description = each.value.meaning
  filter      = local.log_event_filters[each.key]

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "INT64"
    unit         = "1"
    display_name = "Jennah: ${each.value.title}"
  }

  depends_on = [google_project_service.services]
}

# Streams last 45 s, so that the service's own latency says nothing about submissions.
resource "google_logging_metric" "submit_latency" {
  project         = var.project_id
  name            = "${var.deployment}_submit_latency"
  description     = "How long a submission took, by Cloud Run's log of requests."
  filter          = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${local.names["submission"]}\" AND logName=\"projects/${var.project_id}/logs/run.googleapis.com%2Frequests\" AND httpRequest.requestMethod=\"POST\" AND httpRequest.requestUrl=~\"/v1/jobs(:batchCreate)?$\""
  value_extractor = "REGEXP_EXTRACT(httpRequest.latency, \"([0-9.]+)s\")"

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "DISTRIBUTION"
    unit         = "s"
    display_name = "Jennah: time of a submission"
  }

  bucket_options {
    exponential_buckets {
      num_finite_buckets = 40
      growth_factor      = 1.4
      scale              = 0.005
    }
  }

  depends_on = [google_project_service.services]
}

# Straight from the lines: an alert on a new metric of logs is refused for the first minutes of the metric's life.
resource "google_monitoring_alert_policy" "log_events" {
  for_each = local.log_events

  project               = var.project_id
  display_name          = "${var.deployment}: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = var.notification_channels
  user_labels           = local.labels

  conditions {
    display_name = each.value.title

    condition_matched_log {
      filter = local.log_event_filters[each.key]
    }
  }

  alert_strategy {
    auto_close = "86400s"

    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    subject   = "${var.deployment}: ${each.value.title}"
    content   = "${each.value.meaning} What to do: docs/runbook.md#${each.key}"
    mime_type = "text/markdown"
  }

  depends_on = [google_project_service.services]
}

locals {
  thresholds = merge(
    {
      for key, topic in local.topics : "dead_letters_${key}" => {
        title       = "Dead letters of ${topic.name}"
        meaning     = "Messages that no delivery could bring through are kept in ${topic.name}-dead."
        filter      = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.dead[key].name}\" AND metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\""
        denominator = null
        aligner     = "ALIGN_MAX"
        reducer     = "REDUCE_SUM"
        above       = 0
        duration    = "0s"
      }
    },
    {
      for key, topic in local.topics : "oldest_unacked_${key}" => {
        title       = "Messages of ${topic.name} wait"
        meaning     = "The function ${topic.function} does not answer, or answers errors, or can't keep up."
        filter      = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.push[key].name}\" AND metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
        denominator = null
        aligner     = "ALIGN_MAX"
        reducer     = "REDUCE_MAX"
        # Ticks are kept for ten minutes only.
        above    = key == "ticks" ? min(300, var.alerts.oldest_unacked_seconds) : var.alerts.oldest_unacked_seconds
        duration = "300s"
      }
    },
    {
      for key, name in local.names : "error_ratio_${key}" => {
        title       = "Errors of ${name}"
        meaning     = "Too many of the function's answers are 5xx. Of functions that take messages, 503 means: deliver again later."
        filter      = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${name}\" AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"5xx\""
        denominator = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${name}\" AND metric.type=\"run.googleapis.com/request_count\""
        aligner     = "ALIGN_DELTA"
        reducer     = "REDUCE_SUM"
        above       = key == "submission" ? var.alerts.error_ratio : var.alerts.event_error_ratio
        duration    = "300s"
      }
    },
  )
}

resource "google_monitoring_alert_policy" "thresholds" {
  for_each = local.thresholds

  project               = var.project_id
  display_name          = "${var.deployment}: ${each.value.title}"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = var.notification_channels
  user_labels           = local.labels

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter             = each.value.filter
      denominator_filter = each.value.denominator
      comparison         = "COMPARISON_GT"
      threshold_value    = each.value.above
      duration           = each.value.duration

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
      }

      dynamic "denominator_aggregations" {
        for_each = each.value.denominator[*]

        content {
          alignment_period     = "300s"
          per_series_aligner   = each.value.aligner
          cross_series_reducer = each.value.reducer
        }
      }
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    subject   = "${var.deployment}: ${each.value.title}"
    content   = "${each.value.meaning} What to do: docs/runbook.md#${each.key}"
    mime_type = "text/markdown"
  }

  depends_on = [google_project_service.services]
}

# Nothing else notices that no message is lost because none is looked for.
resource "google_monitoring_alert_policy" "reconciliation_absent" {
  project               = var.project_id
  display_name          = "${var.deployment}: Reconciliation does not run"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = var.notification_channels
  user_labels           = local.labels

  conditions {
    display_name = "No tick was answered"

    condition_absent {
      filter   = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${local.names["reconciliation"]}\" AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"2xx\""
      duration = "${var.alerts.reconciliation_absent_s}s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    subject   = "${var.deployment}: Reconciliation does not run"
    content   = "Lost messages are not healed, and jobs that were cancelled are not looked after. What to do: docs/runbook.md#reconciliation_absent"
    mime_type = "text/markdown"
  }

  depends_on = [google_project_service.services]
}

resource "google_monitoring_alert_policy" "submit_latency" {
  project               = var.project_id
  display_name          = "${var.deployment}: Submissions are slow"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = var.notification_channels
  user_labels           = local.labels

  conditions {
    display_name = "99 % of submissions take less than ${var.alerts.submit_seconds} s"

    condition_prometheus_query_language {
      query               = "histogram_quantile(0.99, sum by (le) (rate(logging_googleapis_com:user_${replace(google_logging_metric.submit_latency.name, "-", "_")}_bucket{monitored_resource=\"cloud_run_revision\"}[10m]))) > ${var.alerts.submit_seconds}"
      duration            = "600s"
      evaluation_interval = "60s"
      # It takes minutes until a new metric of logs is known.
      disable_metric_validation = true
    }
  }

  documentation {
    subject   = "${var.deployment}: Submissions are slow"
    content   = "What to do: docs/runbook.md#submit_latency"
    mime_type = "text/markdown"
  }
}
