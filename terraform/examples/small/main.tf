# The smallest deployment that is whole: a tenth of a Spanner node, functions that sleep when nothing is asked of them.
terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.0"
    }
  }
}

variable "project_id" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "oidc_client_id" {
  description = "Id of the project's own OAuth client: the audience of tenants' tokens."
  type        = string
}

module "jennah" {
  source = "../.."

  project_id     = var.project_id
  source_archive = "../../../dist/jennah.zip"

  spanner = { processing_units = 100 }

  oidc_issuers = [{ issuer = "https://accounts.google.com", audience = var.oidc_client_id, provider = "google" }]
  admit        = { domains = ["example.com"] }

  functions = {
    submission   = { max_instances = 3 }
    scheduling   = { max_instances = 2 }
    notification = { max_instances = 2 }
  }
}

output "url" {
  description = "Where the Jobs API is."
  value       = module.jennah.url
}

output "environment" {
  description = "Settings for operators' commands."
  value       = module.jennah.environment
}
