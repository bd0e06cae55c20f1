# New, or already there and adopted. Tables are always made by `jennah migrate`: Terraform's own way to make them can
# neither change one that has data nor see that it was changed.
resource "google_spanner_instance" "new" {
  count = var.spanner.create_instance ? 1 : 0

  project          = var.project_id
  name             = var.spanner.instance
  display_name     = "Jennah ${var.deployment}"
  config           = coalesce(var.spanner.config, "regional-${var.region}")
  edition          = var.spanner.edition
  processing_units = var.spanner.processing_units
  # The schedule below is the only one.
  default_backup_schedule_type = "NONE"
  labels                       = local.labels

  dynamic "autoscaling_config" {
    for_each = var.spanner.autoscaling[*]

    content {
      autoscaling_limits {
        min_processing_units = autoscaling_config.value.min_processing_units
        max_processing_units = autoscaling_config.value.max_processing_units
      }
      autoscaling_targets {
        high_priority_cpu_utilization_percent = autoscaling_config.value.high_priority_cpu_percent
        storage_utilization_percent           = autoscaling_config.value.storage_percent
      }
    }
  }

  depends_on = [google_project_service.services]
}

resource "google_spanner_database" "new" {
  count = var.spanner.create_database ? 1 : 0

  #checkov:skip=CKV_GCP_93:Google's own encryption at rest; who needs keys of their own makes the database and has it adopted.
  #checkov:skip=CKV_GCP_119:On unless a deployment says otherwise, which checkov can't see; a test proves it.
  #checkov:skip=CKV_GCP_120:On unless a deployment says otherwise, which checkov can't see; a test proves it.
  project                  = var.project_id
  instance                 = local.spanner_instance
  name                     = var.spanner.database
  version_retention_period = var.spanner.retention_period
  # The first holds for everybody, the second for Terraform.
  enable_drop_protection = var.spanner.drop_protection
  deletion_protection    = var.spanner.drop_protection

  lifecycle {
    # The schema is not Terraform's.
    ignore_changes = [ddl]
  }
}

resource "google_spanner_backup_schedule" "daily" {
  count = var.spanner.create_database ? 1 : 0

  project            = var.project_id
  instance           = local.spanner_instance
  database           = local.spanner_database
  name               = "${var.deployment}-full"
  retention_duration = "${var.spanner.backup_days * 86400}s"

  spec {
    cron_spec {
      text = var.spanner.backup_cron
    }
  }
  full_backup_spec {}
}

locals {
  # By way of the resource where there is one, so that what uses the name waits for it.
  spanner_instance = var.spanner.create_instance ? google_spanner_instance.new[0].name : var.spanner.instance
  spanner_database = var.spanner.create_database ? google_spanner_database.new[0].name : var.spanner.database
}

# roles/spanner.databaseUser without the right to change the schema.
resource "google_project_iam_custom_role" "database_writer" {
  project     = var.project_id
  role_id     = "${replace(var.deployment, "-", "_")}_database_writer"
  title       = "Jennah database writer"
  description = "Reads and writes rows; can't change the schema."
  permissions = [
    "spanner.databases.beginOrRollbackReadWriteTransaction",
    "spanner.databases.beginReadOnlyTransaction",
    "spanner.databases.read",
    "spanner.databases.select",
    "spanner.databases.write",
    "spanner.sessions.create",
    "spanner.sessions.delete",
    "spanner.sessions.get",
  ]
  depends_on = [google_project_service.services]
}

resource "google_spanner_database_iam_member" "functions" {
  for_each = local.functions

  project  = var.project_id
  instance = local.spanner_instance
  database = local.spanner_database
  role     = google_project_iam_custom_role.database_writer.name
  member   = google_service_account.functions[each.key].member
}
