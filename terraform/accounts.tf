# One account for each function, so that each has only what its own calls need (docs/permissions.md).
resource "google_service_account" "functions" {
  for_each = local.functions

  project      = var.project_id
  account_id   = "${var.deployment}-${each.key}"
  display_name = "Jennah: function ${each.key}"
  depends_on   = [google_project_service.services]
}

# Pub/Sub proves with its tokens that a push is ours.
resource "google_service_account" "push" {
  project      = var.project_id
  account_id   = "${var.deployment}-push"
  display_name = "Jennah: Pub/Sub's pushes to functions"
  depends_on   = [google_project_service.services]
}

resource "google_service_account" "build" {
  project      = var.project_id
  account_id   = "${var.deployment}-build"
  display_name = "Jennah: building of functions"
  depends_on   = [google_project_service.services]
}

# What tenants' containers run as: each of them can get this account's token. So it has nothing to do with data.
resource "google_service_account" "job" {
  project      = var.project_id
  account_id   = "${var.deployment}-job"
  display_name = "Jennah: jobs in Batch"
  depends_on   = [google_project_service.services]
}

locals {
  # What is in Google's hands: made with the service, named after the project's number.
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"

  # Every account that jobs run as. The keys are known before anything is made.
  job_accounts = merge(
    { platform = google_service_account.job.email },
    { for email in var.tenant_job_accounts : email => email },
  )
}

# The role has this one permission: the other ones for tokens would let Pub/Sub act as the account.
resource "google_service_account_iam_member" "pubsub_signs_pushes" {
  service_account_id = google_service_account.push.name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = local.pubsub_agent
  depends_on         = [google_pubsub_topic.topics]
}

# Only who creates Batch jobs acts as their account, and as no other one.
resource "google_service_account_iam_member" "scheduling_acts_as_job" {
  for_each = local.job_accounts

  service_account_id = "projects/${var.project_id}/serviceAccounts/${each.value}"
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.functions["scheduling"].member
}

# CancelJob has no permission of its own that Google publishes; this is the least predefined role with it. Who lacks
# the right to act as a job's account can't create jobs with it.
resource "google_project_iam_member" "batch" {
  for_each = toset(["scheduling", "notification", "reconciliation"])

  project = var.project_id
  role    = "roles/batch.jobsEditor"
  member  = google_service_account.functions[each.value].member
}

resource "google_project_iam_member" "job_reports" {
  for_each = local.job_accounts

  project = var.project_id
  role    = "roles/batch.agentReporter"
  member  = "serviceAccount:${each.value}"
}

resource "google_project_iam_member" "job_writes_logs" {
  for_each = local.job_accounts

  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = "serviceAccount:${each.value}"
}

# roles/logging.viewer without all else that it shows, such as sinks, metrics and usage.
resource "google_project_iam_custom_role" "log_reader" {
  project     = var.project_id
  role_id     = "${replace(var.deployment, "-", "_")}_log_reader"
  title       = "Jennah log reader"
  description = "Reads log entries: what jobs wrote."
  permissions = ["logging.logEntries.list"]
  depends_on  = [google_project_service.services]
}

resource "google_project_iam_member" "submission_reads_logs" {
  project = var.project_id
  role    = google_project_iam_custom_role.log_reader.name
  member  = google_service_account.functions["submission"].member
}
