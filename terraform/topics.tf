locals {
  # Each topic is pushed to one function. A tick that is older than a minute is dropped, so few deliveries are enough.
  # A dead one is only a sign that something was wrong, so it is gone after a day.
  topics = {
    jobs = {
      name         = var.topics.jobs
      function     = "scheduling"
      deliveries   = 100
      most_backoff = "600s"
      retention    = "604800s"
      dead_days    = var.dead_letter_retention_days
    }
    batch_events = {
      name         = var.topics.batch_events
      function     = "notification"
      deliveries   = 100
      most_backoff = "600s"
      retention    = "604800s"
      dead_days    = var.dead_letter_retention_days
    }
    ticks = {
      name         = var.topics.ticks
      function     = "reconciliation"
      deliveries   = 5
      most_backoff = "60s"
      retention    = "600s"
      dead_days    = 1
    }
  }
}

resource "google_pubsub_topic" "topics" {
  for_each = local.topics

  #checkov:skip=CKV_GCP_83:A message holds ids only, no data of a tenant's; Google's own encryption at rest is enough.
  project    = var.project_id
  name       = each.value.name
  labels     = local.labels
  depends_on = [google_project_service.services]
}

resource "google_pubsub_topic" "dead" {
  for_each = local.topics

  #checkov:skip=CKV_GCP_83:As for the topics whose messages come here.
  project    = var.project_id
  name       = "${each.value.name}-dead"
  labels     = local.labels
  depends_on = [google_project_service.services]
}

# The name is the topic's, as in the local cloud.
resource "google_pubsub_subscription" "push" {
  for_each = local.topics

  project                    = var.project_id
  name                       = each.value.name
  topic                      = google_pubsub_topic.topics[each.key].id
  ack_deadline_seconds       = local.function_seconds + 30 # Pub/Sub hangs up then: a function must have answered before.
  message_retention_duration = each.value.retention
  labels                     = local.labels

  expiration_policy {
    ttl = "" # never
  }

  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = each.value.most_backoff
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead[each.key].id
    max_delivery_attempts = each.value.deliveries
  }

  push_config {
    # The service's own address: internal ingress admits Pub/Sub there only.
    push_endpoint = google_cloudfunctions2_function.functions[each.value.function].service_config[0].uri

    oidc_token {
      service_account_email = google_service_account.push.email
      audience              = google_cloudfunctions2_function.functions[each.value.function].service_config[0].uri
    }
  }

  # Without these, the first messages would be refused, and the first dead letters lost.
  depends_on = [
    google_cloud_run_service_iam_member.push,
    google_pubsub_topic_iam_member.pubsub_publishes_dead_letters,
    google_service_account_iam_member.pubsub_signs_pushes,
  ]
}

# Nobody reads here but an operator (docs/operations.md).
resource "google_pubsub_subscription" "dead" {
  for_each = local.topics

  project                    = var.project_id
  name                       = "${each.value.name}-dead"
  topic                      = google_pubsub_topic.dead[each.key].id
  message_retention_duration = "${each.value.dead_days * 86400}s"
  labels                     = local.labels

  expiration_policy {
    ttl = "" # never
  }
}

resource "google_pubsub_topic_iam_member" "pubsub_publishes_dead_letters" {
  for_each = local.topics

  project = var.project_id
  topic   = google_pubsub_topic.dead[each.key].name
  role    = "roles/pubsub.publisher"
  member  = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "pubsub_takes_dead_letters" {
  for_each = local.topics

  project      = var.project_id
  subscription = google_pubsub_subscription.push[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}

# Any function may find that a job wants attention.
resource "google_pubsub_topic_iam_member" "functions_publish_jobs" {
  for_each = local.functions

  project = var.project_id
  topic   = google_pubsub_topic.topics["jobs"].name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.functions[each.key].member
}

# Batch publishes as the job's account, so a container can forge notifications: they are hints, never proof.
resource "google_pubsub_topic_iam_member" "job_publishes_events" {
  for_each = local.job_accounts

  project = var.project_id
  topic   = google_pubsub_topic.topics["batch_events"].name
  role    = "roles/pubsub.publisher"
  member  = "serviceAccount:${each.value}"
}

resource "google_cloud_scheduler_job" "tick" {
  project     = var.project_id
  region      = var.region
  name        = "${var.deployment}-tick"
  description = "Wakes reconciliation once a minute (JENNAH_TICK_SECONDS)."
  schedule    = "* * * * *"
  time_zone   = "Etc/UTC"

  pubsub_target {
    topic_name = google_pubsub_topic.topics["ticks"].id
    data       = base64encode("{}")
  }
}
