locals {
  # Monitoring's filters are another language than those of logs: they have no =~.
  run_metric    = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=one_of(\"${join("\", \"", values(local.names))}\") AND metric.type="
  pubsub_metric = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=one_of(\"${join("\", \"", flatten([for topic in local.topics : [topic.name, "${topic.name}-dead"]]))}\") AND metric.type="
  user_metric   = "resource.type=\"cloud_run_revision\" AND metric.type=\"logging.googleapis.com/user/${var.deployment}_"

  charts = concat(
    [
      { title = "Requests a second", filter = "${local.run_metric}\"run.googleapis.com/request_count\"", aligner = "ALIGN_RATE", reducer = "REDUCE_SUM", by = ["resource.label.service_name", "metric.label.response_code_class"] },
      { title = "Time of a submission, p99 (s)", filter = "${local.user_metric}submit_latency\"", aligner = "ALIGN_PERCENTILE_99", reducer = "REDUCE_MAX", by = [] },
      { title = "Time of an answer, p95 (ms; streams count too)", filter = "${local.run_metric}\"run.googleapis.com/request_latencies\"", aligner = "ALIGN_PERCENTILE_95", reducer = "REDUCE_MAX", by = ["resource.label.service_name"] },
      { title = "Instances", filter = "${local.run_metric}\"run.googleapis.com/container/instance_count\"", aligner = "ALIGN_MAX", reducer = "REDUCE_SUM", by = ["resource.label.service_name"] },
      { title = "Messages that wait, and dead letters", filter = "${local.pubsub_metric}\"pubsub.googleapis.com/subscription/num_undelivered_messages\"", aligner = "ALIGN_MAX", reducer = "REDUCE_SUM", by = ["resource.label.subscription_id"] },
      { title = "Oldest message that waits (s)", filter = "${local.pubsub_metric}\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\"", aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", by = ["resource.label.subscription_id"] },
      { title = "Spanner: CPU of high priority", filter = "resource.type=\"spanner_instance\" AND resource.labels.instance_id=\"${var.spanner.instance}\" AND metric.type=\"spanner.googleapis.com/instance/cpu/utilization_by_priority\" AND metric.labels.priority=\"high\"", aligner = "ALIGN_MEAN", reducer = "REDUCE_SUM", by = [] },
      { title = "Spanner: calls a second", filter = "resource.type=\"spanner_instance\" AND resource.labels.instance_id=\"${var.spanner.instance}\" AND metric.type=\"spanner.googleapis.com/api/api_request_count\"", aligner = "ALIGN_RATE", reducer = "REDUCE_SUM", by = ["metric.label.method", "metric.label.status"] },
    ],
    [
      for key, event in local.log_events :
      { title = event.title, filter = "${local.user_metric}${key}\"", aligner = "ALIGN_DELTA", reducer = "REDUCE_SUM", by = [] }
    ],
  )
}

resource "google_monitoring_dashboard" "jennah" {
  project = var.project_id
  dashboard_json = jsonencode({
    displayName = "Jennah ${var.deployment}"
    mosaicLayout = {
      columns = 12
      tiles = [
        # Monitoring keeps no zeros and no empty lists: said, they would be a change in every plan.
        for number, chart in local.charts : merge(
          { for name, place in { xPos = 6 * (number % 2), yPos = 4 * floor(number / 2) } : name => place if place > 0 },
          { width = 6, height = 4 },
          {
            widget = {
              title = chart.title
              xyChart = {
                dataSets = [{
                  plotType = "LINE"
                  timeSeriesQuery = {
                    timeSeriesFilter = {
                      filter = chart.filter
                      aggregation = merge(
                        { alignmentPeriod = "60s", perSeriesAligner = chart.aligner, crossSeriesReducer = chart.reducer },
                        { for name, fields in { groupByFields = chart.by } : name => fields if length(fields) > 0 },
                      )
                    }
                  }
                }]
              }
            }
          },
        )
      ]
    }
  })

  # A chart of a metric that Monitoring does not know yet is empty until it does.
  depends_on = [google_logging_metric.events, google_logging_metric.submit_latency, google_project_service.services]
}
