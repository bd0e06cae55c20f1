output "url" {
  description = "Where the Jobs API is (JENNAH_URL of clients)."
  value       = google_cloudfunctions2_function.functions["submission"].service_config[0].uri
}

output "environment" {
  description = "The functions' settings, for operators' commands such as `jennah migrate` and `jennah doctor`."
  value       = local.environment
}

output "functions" {
  description = "Name, address and account of each function."
  value = {
    for name, function in google_cloudfunctions2_function.functions : name => {
      name    = function.name
      url     = function.service_config[0].uri
      account = google_service_account.functions[name].email
    }
  }
}

output "job_service_account" {
  description = "The account that jobs run as, of tenants without their own."
  value       = google_service_account.job.email
}

output "job_images" {
  description = "Where images of jobs may be pushed to."
  value       = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.jobs.repository_id}"
}

output "job_addresses" {
  description = "The addresses that jobs are seen from; empty without job_network."
  value       = google_compute_address.nat[*].address
}

output "topics" {
  description = "Names of the topics. The dead-letter topic of T, and the subscription that keeps what comes there, are T-dead."
  value       = { for key, topic in google_pubsub_topic.topics : key => topic.name }
}

output "spanner" {
  description = "The database."
  value       = { instance = local.spanner_instance, database = local.spanner_database }
}
