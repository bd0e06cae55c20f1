# A deployment for about 50 jobs a second: Spanner follows the load, the API is always warm, jobs leave from known
# addresses, tenants have limits, and somebody is told when something is wrong.
terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.0"
    }
  }

  # backend "gcs" {
  #   bucket = "my-terraform-states"
  #   prefix = "jennah"
  # }
}

variable "project_id" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "oidc_client_id" {
  description = "Id of the project's own OAuth client: the audience of tenants' tokens."
  type        = string
}

variable "notification_channels" {
  description = "Full names of the notification channels that alerts go to."
  type        = list(string)
}

module "jennah" {
  source = "../.."

  project_id     = var.project_id
  region         = "europe-west1"
  source_archive = "../../../dist/jennah.zip"
  labels         = { team = "platform", environment = "production" }

  spanner = {
    instance         = "jennah"
    edition          = "ENTERPRISE"
    autoscaling      = { min_processing_units = 1000, max_processing_units = 5000 }
    retention_period = "7d"
    backup_days      = 35
  }

  oidc_issuers = [{ issuer = "https://accounts.google.com", audience = var.oidc_client_id, provider = "google" }]
  admit        = { domains = ["example.com"] }
  operators    = { emails = ["platform-oncall@example.com"] }
  limits       = { open_jobs = 10000, submissions_per_minute = 1200, vcpu_in_flight = 5000 }
  images       = { registries = ["europe-west1-docker.pkg.dev/${var.project_id}/jennah-jobs"], digests_required = true }

  # docs/capacity.md has the arithmetic. Half of submission's requests may be streams, which wait: hence the many.
  functions = {
    submission     = { memory = "1Gi", concurrency = 32, min_instances = 2, max_instances = 40 }
    scheduling     = { min_instances = 1, max_instances = 11 }
    notification   = { min_instances = 1, max_instances = 10 }
    reconciliation = { memory = "1Gi", min_instances = 1 }
  }

  # With more than 2,000 jobs in flight a tick can't ask Batch for each of them so soon: most have ended by then.
  times = { live_check = 900 }

  # Google's services are reached without NAT, the internet by 2 × 252 machines at a time.
  job_network           = { cidr = "10.64.0.0/16", nat_addresses = 2 }
  notification_channels = var.notification_channels
  alerts                = { error_ratio = 0.01, submit_seconds = 1 }
}

output "url" {
  description = "Where the Jobs API is."
  value       = module.jennah.url
}

output "environment" {
  description = "Settings for operators' commands."
  value       = module.jennah.environment
}

output "job_addresses" {
  description = "The addresses that jobs are seen from."
  value       = module.jennah.job_addresses
}
