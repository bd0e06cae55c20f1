variable "spanner" {
  description = <<-EOT
    The database. A new instance has a fixed size (`processing_units`) or follows the load (`autoscaling`, which needs the
    edition ENTERPRISE). create_instance = false and create_database = false adopt what is there: then Terraform only gives
    the functions access to it. Tables are never made here, but by `jennah migrate`.
  EOT
  type = object({
    instance         = optional(string, "jennah")
    create_instance  = optional(bool, true)
    config           = optional(string)
    edition          = optional(string, "STANDARD")
    processing_units = optional(number)
    autoscaling = optional(object({
      min_processing_units      = number
      max_processing_units      = number
      high_priority_cpu_percent = optional(number, 65)
      storage_percent           = optional(number, 90)
    }))
    database         = optional(string, "main")
    create_database  = optional(bool, true)
    drop_protection  = optional(bool, true)
    retention_period = optional(string, "3d")
    backup_cron      = optional(string, "0 3 * * *")
    backup_days      = optional(number, 14)
  })
  default = { processing_units = 100 }

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,62}[a-z0-9]$", var.spanner.instance)) && can(regex("^[a-z][a-z0-9_-]{0,28}[a-z0-9]$", var.spanner.database))
    error_message = "spanner: instance must be 2 to 64 lower-case letters, digits or '-', and database 2 to 30 of these or '_'."
  }

  validation {
    condition     = !var.spanner.create_instance || (var.spanner.processing_units == null) != (var.spanner.autoscaling == null)
    error_message = "spanner: a new instance needs either processing_units or autoscaling."
  }

  validation {
    condition     = var.spanner.create_instance || (var.spanner.processing_units == null && var.spanner.autoscaling == null && var.spanner.config == null)
    error_message = "spanner: config, processing_units and autoscaling are for new instances; with create_instance = false leave them out."
  }

  validation {
    condition     = var.spanner.create_database || !var.spanner.create_instance
    error_message = "spanner: a database that exists is in an instance that exists; set create_instance = false too."
  }

  validation {
    condition = var.spanner.processing_units == null ? true : (
      var.spanner.processing_units >= 100 && var.spanner.processing_units % (var.spanner.processing_units < 1000 ? 100 : 1000) == 0
    )
    error_message = "spanner.processing_units must be a multiple of 100, and from 1000 on of 1000."
  }

  validation {
    condition = var.spanner.autoscaling == null ? true : (
      var.spanner.autoscaling.min_processing_units >= 1000 && var.spanner.autoscaling.min_processing_units % 1000 == 0 &&
      var.spanner.autoscaling.max_processing_units % 1000 == 0 &&
      var.spanner.autoscaling.max_processing_units >= var.spanner.autoscaling.min_processing_units &&
      var.spanner.autoscaling.max_processing_units <= 10 * var.spanner.autoscaling.min_processing_units
    )
    error_message = "spanner.autoscaling: the limits must be multiples of 1000, at least 1000, and the upper one 1 to 10 times the lower one."
  }

  validation {
    condition     = contains(["STANDARD", "ENTERPRISE", "ENTERPRISE_PLUS"], var.spanner.edition) && (var.spanner.autoscaling == null || var.spanner.edition != "STANDARD")
    error_message = "spanner.edition must be STANDARD, ENTERPRISE or ENTERPRISE_PLUS; autoscaling needs ENTERPRISE."
  }

  validation {
    condition     = can(regex("^([1-9]|[1-9][0-9]|1[0-5][0-9]|16[0-8])h$|^[1-7]d$", var.spanner.retention_period))
    error_message = "spanner.retention_period must be from 1h to 7d: so far back the database can be read as it was."
  }

  validation {
    condition     = can(regex("^[0-9A-Za-z*,/-]+( [0-9A-Za-z*,/-]+){4}$", var.spanner.backup_cron))
    error_message = "spanner.backup_cron must be the five fields of a cron schedule, such as 0 3 * * *, in UTC."
  }

  validation {
    condition     = var.spanner.backup_days >= 1 && var.spanner.backup_days <= 366
    error_message = "spanner.backup_days must be from 1 to 366."
  }
}
