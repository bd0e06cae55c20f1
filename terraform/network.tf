# A network for jobs: machines without external addresses, which reach Google's services privately and everything else
# from reserved addresses, so that others can admit them. Nothing reaches them: without a rule, what comes in is denied.
resource "google_compute_network" "jobs" {
  count = var.job_network == null ? 0 : 1

  #checkov:skip=CKV2_GCP_18:It has no default rules, and without a rule what comes in is denied; jobs need nothing else.
  project                 = var.project_id
  name                    = "${var.deployment}-jobs"
  description             = "Machines of Batch jobs."
  auto_create_subnetworks = false
  depends_on              = [google_project_service.services]
}

resource "google_compute_subnetwork" "jobs" {
  count = var.job_network == null ? 0 : 1

  #checkov:skip=CKV_GCP_26:Flow logs of jobs' machines cost more than they tell; NAT logs what was refused.
  #checkov:skip=CKV_GCP_76:The network has no IPv6.
  project                  = var.project_id
  region                   = var.region
  name                     = "${var.deployment}-jobs"
  network                  = google_compute_network.jobs[0].id
  ip_cidr_range            = var.job_network.cidr
  private_ip_google_access = true
}

resource "google_compute_address" "nat" {
  count = var.job_network == null ? 0 : var.job_network.nat_addresses

  project      = var.project_id
  region       = var.region
  name         = "${var.deployment}-jobs-nat-${count.index}"
  address_type = "EXTERNAL"
  depends_on   = [google_project_service.services]
}

resource "google_compute_router" "jobs" {
  count = var.job_network == null ? 0 : 1

  project = var.project_id
  region  = var.region
  name    = "${var.deployment}-jobs"
  network = google_compute_network.jobs[0].id
}

resource "google_compute_router_nat" "jobs" {
  count = var.job_network == null ? 0 : 1

  project                            = var.project_id
  region                             = var.region
  router                             = google_compute_router.jobs[0].name
  name                               = "${var.deployment}-jobs"
  nat_ip_allocate_option             = "MANUAL_ONLY"
  nat_ips                            = google_compute_address.nat[*].self_link
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"
  min_ports_per_vm                   = var.job_network.nat_ports_per_job

  subnetwork {
    name                    = google_compute_subnetwork.jobs[0].id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}
