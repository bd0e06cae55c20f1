variable "project_id" {
  description = "Id of the Google Cloud project that everything is made in."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id, such as my-project: neither its number nor its name."
  }
}

variable "region" {
  description = "Where functions and new Batch jobs run, and where a new Spanner instance stands."
  type        = string
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a region, such as us-central1; us-central1-a is a zone."
  }
}

variable "deployment" {
  description = "Name of this deployment: it begins the names of what is made, and is a label of its Batch jobs. Never change it while jobs live."
  type        = string
  default     = "jennah"

  validation {
    # The longest account is DEPLOYMENT-reconciliation, and an account's id has 30 characters at most.
    condition     = can(regex("^[a-z][a-z0-9-]{0,13}[a-z0-9]$", var.deployment))
    error_message = "deployment must be 2 to 15 lower-case letters, digits or '-', a letter first and no '-' last."
  }
}

variable "labels" {
  description = "Labels for everything that can have some."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([
      for name, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", name)) && can(regex("^[a-z0-9_-]{0,63}$", value))
    ])
    error_message = "labels must have names and values of lower-case letters, digits, '-' and '_', 63 at most."
  }
}

variable "source_archive" {
  description = "Path of the functions' source, made by `make package`. Its content names the object: a changed archive is a new deployment."
  type        = string
  default     = "../dist/jennah.zip"

  validation {
    condition     = endswith(var.source_archive, ".zip") && fileexists(var.source_archive)
    error_message = "source_archive must be a zip file that exists: run `make package` first."
  }
}

variable "python_runtime" {
  description = "Runtime of the functions."
  type        = string
  default     = "python312"

  validation {
    condition     = contains(["python311", "python312", "python313"], var.python_runtime)
    error_message = "python_runtime must be python311, python312 or python313: Jennah is tested with these."
  }
}

variable "topics" {
  description = "Names of the Pub/Sub topics. Two deployments in one project need different ones. The dead-letter topic of T is T-dead."
  type = object({
    jobs         = optional(string, "jobs")
    batch_events = optional(string, "batch-events")
    ticks        = optional(string, "ticks")
  })
  default = {}

  validation {
    condition = alltrue([
      for name in values(var.topics) : can(regex("^[a-zA-Z][a-zA-Z0-9._~+%-]{2,249}$", name)) && !startswith(name, "goog")
    ])
    error_message = "topics must be ids of 3 to 250 characters, a letter first, that do not begin with goog."
  }

  validation {
    condition     = length(distinct(flatten([for name in values(var.topics) : [name, "${name}-dead"]]))) == 6
    error_message = "topics must be three different names, none of which is another's with -dead, the name of its dead letters."
  }
}

variable "dead_letter_retention_days" {
  description = "How long dead letters are kept for an operator to look at them, in days. Ticks are gone after one."
  type        = number
  default     = 31

  validation {
    condition     = var.dead_letter_retention_days >= 1 && var.dead_letter_retention_days <= 31 && floor(var.dead_letter_retention_days) == var.dead_letter_retention_days
    error_message = "dead_letter_retention_days must be a whole number from 1 to 31: Pub/Sub keeps nothing for longer."
  }
}

variable "job_network" {
  description = "A network for jobs, whose machines have no external addresses and leave through Cloud NAT from reserved ones. Null: Batch's own choice, the project's default network."
  type = object({
    cidr              = optional(string, "10.64.0.0/16")
    nat_addresses     = optional(number, 1)
    nat_ports_per_job = optional(number, 256)
  })
  default = null

  validation {
    condition     = var.job_network == null ? true : can(cidrhost(var.job_network.cidr, 1)) && can(regex("^[0-9.]+/(8|9|1[0-9]|2[0-9])$", var.job_network.cidr))
    error_message = "job_network.cidr must be a range of IPv4 addresses from /8 to /29, such as 10.64.0.0/16."
  }

  validation {
    condition     = var.job_network == null ? true : var.job_network.nat_addresses >= 1 && var.job_network.nat_addresses <= 50
    error_message = "job_network.nat_addresses must be a number from 1 to 50."
  }

  validation {
    condition     = var.job_network == null ? true : contains([32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768], var.job_network.nat_ports_per_job)
    error_message = "job_network.nat_ports_per_job must be a power of two from 32 to 32768."
  }
}

variable "tenant_job_accounts" {
  description = "Emails of service accounts that tenants' jobs run as (Tenants.JobServiceAccount): each gets what a job needs, and the scheduling function may start jobs as it."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.tenant_job_accounts : endswith(email, "@${var.project_id}.iam.gserviceaccount.com")])
    error_message = "tenant_job_accounts must be emails of this project's service accounts, such as team-a@my-project.iam.gserviceaccount.com."
  }
}
