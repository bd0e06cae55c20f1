resource "google_storage_bucket" "source" {
  #checkov:skip=CKV_GCP_62:It holds the source of the functions and is read at builds only; who reads it is in the Cloud Build logs.
  project                     = var.project_id
  name                        = "${var.project_id}-${var.deployment}-source"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # `make package` makes all of it again
  labels                      = local.labels

  versioning {
    enabled = true
  }

  # Each release is an object of its own, with one version: it goes some time after Terraform has let go of it.
  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }

  depends_on = [google_project_service.services]
}

# Its content is its name: other content is another object, and so another deployment of the functions.
resource "google_storage_bucket_object" "source" {
  bucket = google_storage_bucket.source.name
  name   = "functions/${filesha256(var.source_archive)}.zip"
  source = var.source_archive

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_artifact_registry_repository" "functions" {
  #checkov:skip=CKV_GCP_84:The functions' images hold no secrets; Google's own encryption at rest is enough.
  project       = var.project_id
  location      = var.region
  repository_id = "${var.deployment}-functions"
  description   = "Images of the functions, made by their builds."
  format        = "DOCKER"
  labels        = local.labels
  depends_on    = [google_project_service.services]
}

# For images of jobs. Tenants may use others, as far as `images` allows.
resource "google_artifact_registry_repository" "jobs" {
  #checkov:skip=CKV_GCP_84:Whoever needs keys of their own keeps images in a repository of their own.
  project       = var.project_id
  location      = var.region
  repository_id = "${var.deployment}-jobs"
  description   = "Images of jobs."
  format        = "DOCKER"
  labels        = local.labels
  depends_on    = [google_project_service.services]
}

resource "google_artifact_registry_repository_iam_member" "job_pulls_images" {
  for_each = local.job_accounts

  project    = var.project_id
  location   = var.region
  repository = google_artifact_registry_repository.jobs.name
  role       = "roles/artifactregistry.reader"
  member     = "serviceAccount:${each.value}"
}

resource "google_artifact_registry_repository_iam_member" "build_pushes_functions" {
  project    = var.project_id
  location   = var.region
  repository = google_artifact_registry_repository.functions.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}

# Cloud Functions copies the archive to a bucket of its own, which it makes with the first function; builds read there.
resource "google_project_iam_member" "build_reads_source" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member

  condition {
    title       = "functions_source_only"
    description = "The bucket that Cloud Functions keeps sources in."
    expression  = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-${data.google_project.this.number}-${var.region}\")"
  }
}

resource "google_project_iam_member" "build_writes_logs" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = google_service_account.build.member
}
