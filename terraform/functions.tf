locals {
  function_seconds = 60 # shared/config.py counts on it: Timing.function_timeout

  # The four functions. They share one archive, and differ in these and in their sizes.
  functions = {
    submission     = { target = "submit", ingress = var.submission_access.ingress, size = var.functions.submission }
    scheduling     = { target = "schedule", ingress = "ALLOW_INTERNAL_ONLY", size = var.functions.scheduling }
    notification   = { target = "notify", ingress = "ALLOW_INTERNAL_ONLY", size = var.functions.notification }
    reconciliation = { target = "reconcile", ingress = "ALLOW_INTERNAL_ONLY", size = var.functions.reconciliation }
  }

  # The settings of shared/config.py: all functions have the same.
  environment = merge(
    {
      GOOGLE_CLOUD_PROJECT       = var.project_id
      SPANNER_INSTANCE           = local.spanner_instance
      SPANNER_DATABASE           = local.spanner_database
      JENNAH_REGION              = var.region
      JENNAH_DEPLOYMENT          = var.deployment
      JENNAH_JOBS_TOPIC          = google_pubsub_topic.topics["jobs"].name
      JENNAH_BATCH_EVENTS_TOPIC  = google_pubsub_topic.topics["batch_events"].name
      JENNAH_JOB_SERVICE_ACCOUNT = google_service_account.job.email
      JENNAH_OIDC_ISSUERS        = jsonencode([for each in var.oidc_issuers : { for key, value in each : key => value if value != null }])
      JENNAH_ADMIT               = var.admit.everyone ? "everyone" : jsonencode({ for key, value in var.admit : key => value if key != "everyone" })
      JENNAH_OPERATORS           = jsonencode({ for key, value in var.operators : key => value if value != null })
      JENNAH_LIMITS              = jsonencode({ for key, value in var.limits : key => value if value != null })
      JENNAH_IMAGE_REGISTRIES    = length(var.images.registries) == 0 ? "" : jsonencode(var.images.registries)
      JENNAH_IMAGE_DIGESTS       = var.images.digests_required ? "required" : ""
      JENNAH_TICK_SECONDS        = "60" # the schedule of google_cloud_scheduler_job.tick
    },
    { for name, seconds in var.times : "JENNAH_${upper(name)}_SECONDS" => tostring(seconds) if seconds != null },
    var.job_network == null ? {} : {
      JENNAH_JOB_NETWORK    = "projects/${var.project_id}/global/networks/${google_compute_network.jobs[0].name}"
      JENNAH_JOB_SUBNETWORK = "projects/${var.project_id}/regions/${var.region}/subnetworks/${google_compute_subnetwork.jobs[0].name}"
      # By Cloud NAT, whose addresses are known.
      JENNAH_JOB_EXTERNAL_IP = "none"
    },
    var.environment,
  )

  # Which function reads which secret, once however many variables come from it.
  secret_readers = merge([
    for entry in values(var.secret_environment) : {
      for function in entry.functions : "${function}/${entry.secret}" => { function = function, secret = entry.secret }
    }
  ]...)
}

# For a function's own secrets alone: secrets of tenants are none of its business (docs/security.md).
resource "google_secret_manager_secret_iam_member" "functions" {
  for_each = local.secret_readers

  project   = var.project_id
  secret_id = each.value.secret
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.functions[each.value.function].member
}

resource "google_cloudfunctions2_function" "functions" {
  for_each = local.functions

  #checkov:skip=CKV_GCP_124:Only submission is reached from outside, which is what it is for; a test proves it.
  project  = var.project_id
  location = var.region
  name     = "${var.deployment}-${each.key}"
  labels   = local.labels

  build_config {
    runtime           = var.python_runtime
    entry_point       = each.value.target
    service_account   = google_service_account.build.id
    docker_repository = google_artifact_registry_repository.functions.id
    environment_variables = {
      GOOGLE_FUNCTION_SOURCE = "functions/${each.key}.py"
    }

    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    service_account_email            = google_service_account.functions[each.key].email
    ingress_settings                 = each.value.ingress
    timeout_seconds                  = local.function_seconds
    available_memory                 = each.value.size.memory
    available_cpu                    = each.value.size.cpu
    max_instance_request_concurrency = each.value.size.concurrency
    min_instance_count               = each.value.size.min_instances
    max_instance_count               = each.value.size.max_instances
    environment_variables            = merge(local.environment, { THREADS = tostring(each.value.size.concurrency) })

    dynamic "secret_environment_variables" {
      for_each = { for name, entry in var.secret_environment : name => entry if contains(entry.functions, each.key) }

      content {
        project_id = var.project_id
        key        = secret_environment_variables.key
        secret     = secret_environment_variables.value.secret
        version    = secret_environment_variables.value.version
      }
    }
  }

  # A function that starts without its rights answers errors until it has them.
  depends_on = [
    google_artifact_registry_repository_iam_member.build_pushes_functions,
    google_project_iam_member.batch,
    google_project_iam_member.build_reads_source,
    google_project_iam_member.build_writes_logs,
    google_project_iam_member.submission_reads_logs,
    google_pubsub_topic_iam_member.functions_publish_jobs,
    google_secret_manager_secret_iam_member.functions,
    google_service_account_iam_member.scheduling_acts_as_job,
    google_spanner_database_iam_member.functions,
  ]
}

# The service below a function has the function's name.
resource "google_cloud_run_service_iam_member" "push" {
  for_each = { for key, topic in local.topics : topic.function => key }

  project  = var.project_id
  location = var.region
  service  = google_cloudfunctions2_function.functions[each.key].name
  role     = "roles/run.invoker"
  member   = google_service_account.push.member
}

# submission verifies tenants' tokens itself, which it can't where Cloud Run has checked them before: it takes their
# signatures off.
resource "google_cloud_run_service_iam_member" "submission" {
  for_each = var.submission_access.public ? toset(["allUsers"]) : var.submission_access.members

  #checkov:skip=CKV_GCP_102:The Jobs API is public on purpose: its callers are no Google accounts. It refuses who has no valid token.
  project  = var.project_id
  location = var.region
  service  = google_cloudfunctions2_function.functions["submission"].name
  role     = "roles/run.invoker"
  member   = each.value
}
