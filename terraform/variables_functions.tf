variable "functions" {
  description = <<-EOT
    Sizes of the functions. `concurrency` is how many requests an instance serves at once, and how many threads it has.
    `scheduling`: concurrency × max_instances bounds how many calls to Batch are open at a time. Batch takes 6,000
    changes a minute in a region, creates and cancels together, and answers in about a second: 100 open ones use that up,
    and 90 leave something to others (docs/capacity.md).
    `submission`: half of an instance's threads may hold streams. `reconciliation` has one tick a minute to answer.
  EOT
  type = object({
    submission = optional(object({
      memory        = optional(string, "512Mi")
      cpu           = optional(string, "1")
      concurrency   = optional(number, 16)
      min_instances = optional(number, 0)
      max_instances = optional(number, 10)
    }), {})
    scheduling = optional(object({
      memory        = optional(string, "512Mi")
      cpu           = optional(string, "1")
      concurrency   = optional(number, 8)
      min_instances = optional(number, 0)
      max_instances = optional(number, 5)
    }), {})
    notification = optional(object({
      memory        = optional(string, "512Mi")
      cpu           = optional(string, "1")
      concurrency   = optional(number, 8)
      min_instances = optional(number, 0)
      max_instances = optional(number, 5)
    }), {})
    reconciliation = optional(object({
      memory        = optional(string, "512Mi")
      cpu           = optional(string, "1")
      concurrency   = optional(number, 2)
      min_instances = optional(number, 0)
      max_instances = optional(number, 1)
    }), {})
  })
  default = {}

  validation {
    condition     = alltrue([for size in values(var.functions) : can(regex("^[0-9]+(Mi|Gi)$", size.memory))])
    error_message = "functions: memory must be an amount such as 512Mi or 1Gi."
  }

  validation {
    condition     = alltrue([for size in values(var.functions) : contains(["1", "2", "4", "8"], size.cpu)])
    error_message = "functions: cpu must be 1, 2, 4 or 8; with less, an instance serves one request at a time."
  }

  validation {
    condition     = alltrue([for size in values(var.functions) : size.concurrency >= 1 && size.concurrency <= 250])
    error_message = "functions: concurrency must be from 1 to 250."
  }

  validation {
    condition     = alltrue([for size in values(var.functions) : alltrue([for number in [size.concurrency, size.min_instances, size.max_instances] : floor(number) == number])])
    error_message = "functions: concurrency, min_instances and max_instances must be whole numbers."
  }

  validation {
    condition     = alltrue([for size in values(var.functions) : size.min_instances >= 0 && size.max_instances >= max(1, size.min_instances)])
    error_message = "functions: max_instances must be at least 1, and at least min_instances."
  }

  validation {
    condition     = var.functions.submission.concurrency >= 2
    error_message = "functions: submission needs a concurrency of 2 or more, else nothing can be streamed."
  }

  validation {
    condition     = var.functions.scheduling.concurrency * var.functions.scheduling.max_instances <= 90
    error_message = "functions: scheduling may have at most 90 open requests (concurrency × max_instances): Batch takes no more changes than that."
  }
}

variable "submission_access" {
  description = <<-EOT
    Who reaches the function `submission`. It verifies tenants' tokens itself, so it is public as far as IAM is concerned.
    Where an organisation forbids that: public = false, and one of the other ways in of README.md. `members` may call it
    who send Google's token in X-Serverless-Authorization beside the tenant's in Authorization.
  EOT
  type = object({
    public  = optional(bool, true)
    members = optional(set(string), [])
    ingress = optional(string, "ALLOW_ALL")
  })
  default = {}

  validation {
    condition     = contains(["ALLOW_ALL", "ALLOW_INTERNAL_AND_GCLB", "ALLOW_INTERNAL_ONLY"], var.submission_access.ingress)
    error_message = "submission_access.ingress must be ALLOW_ALL, ALLOW_INTERNAL_AND_GCLB or ALLOW_INTERNAL_ONLY."
  }

  validation {
    condition     = length(setintersection(var.submission_access.members, ["allUsers", "allAuthenticatedUsers"])) == 0
    error_message = "submission_access.members must be accounts, groups or domains; for everybody say public = true."
  }

  validation {
    condition     = !var.submission_access.public || length(var.submission_access.members) == 0
    error_message = "submission_access: members have a meaning only with public = false."
  }
}

variable "oidc_issuers" {
  description = "Issuers whose tokens are accepted (JENNAH_OIDC_ISSUERS, docs/identity.md). The audience must be ours alone."
  type = list(object({
    issuer   = string
    audience = string
    provider = string
    jwks_uri = optional(string)
  }))
  default = []

  validation {
    condition     = alltrue([for each in var.oidc_issuers : can(regex("^https://", each.issuer))])
    error_message = "oidc_issuers: an issuer must begin with https://."
  }

  validation {
    condition     = alltrue([for each in var.oidc_issuers : can(regex("(?s).", each.audience)) && can(regex("^[A-Za-z0-9._-]{1,50}$", each.provider))])
    error_message = "oidc_issuers: each needs an audience, and a provider of 1 to 50 letters, digits, '.', '_' or '-'."
  }

  validation {
    condition     = length(distinct(var.oidc_issuers[*].provider)) == length(var.oidc_issuers)
    error_message = "oidc_issuers: each needs a provider of its own, else identities of two issuers would meet."
  }
}

variable "admit" {
  description = "Who may become a tenant (JENNAH_ADMIT, docs/identity.md). Default: nobody."
  type = object({
    everyone = optional(bool, false)
    domains  = optional(list(string), [])
    emails   = optional(list(string), [])
    subjects = optional(list(string), [])
  })
  default = {}

  validation {
    condition     = !var.admit.everyone || length(concat(var.admit.domains, var.admit.emails, var.admit.subjects)) == 0
    error_message = "admit: with everyone = true the lists mean nothing; leave them out."
  }

  validation {
    # The shapes of shared/callers.py, whose \s is more than RE2's.
    condition = alltrue(concat(
      [for email in var.admit.emails : can(regex("^[^@\\s\\v\\x1c-\\x1f\\x85\\pZ]+@[^@\\s\\v\\x1c-\\x1f\\x85\\pZ]+$", email))],
      [for domain in var.admit.domains : can(regex("^[^@\\s\\v\\x1c-\\x1f\\x85\\pZ]+$", domain))],
      [for subject in var.admit.subjects : can(regex("^[^:\\s\\v\\x1c-\\x1f\\x85\\pZ]+:.+$", subject))],
    ))
    error_message = "admit: emails must be such as ann@example.com, domains such as example.com, and subjects provider:subject."
  }
}

variable "operators" {
  description = "Who may read what belongs to all tenants (JENNAH_OPERATORS, docs/identity.md). Default: nobody."
  type = object({
    domains  = optional(list(string), [])
    emails   = optional(list(string), [])
    subjects = optional(list(string), [])
    claim = optional(object({
      name     = string
      value    = string
      provider = string
    }))
  })
  default = {}

  validation {
    # As in admit.
    condition = alltrue(concat(
      [for email in var.operators.emails : can(regex("^[^@\\s\\v\\x1c-\\x1f\\x85\\pZ]+@[^@\\s\\v\\x1c-\\x1f\\x85\\pZ]+$", email))],
      [for domain in var.operators.domains : can(regex("^[^@\\s\\v\\x1c-\\x1f\\x85\\pZ]+$", domain))],
      [for subject in var.operators.subjects : can(regex("^[^:\\s\\v\\x1c-\\x1f\\x85\\pZ]+:.+$", subject))],
    ))
    error_message = "operators: emails must be such as ann@example.com, domains such as example.com, and subjects provider:subject."
  }

  validation {
    condition     = alltrue([for claim in var.operators.claim[*] : can(regex("(?s).", claim.name)) && can(regex("(?s).", claim.value))])
    error_message = "operators.claim must have a name and a value that are not empty."
  }

  validation {
    condition     = alltrue([for claim in var.operators.claim[*] : anytrue([for each in var.oidc_issuers : each.provider == claim.provider])])
    error_message = "operators.claim.provider must be the provider of one of oidc_issuers: the one that is believed in this."
  }
}

variable "limits" {
  description = "What each tenant may have at a time (JENNAH_LIMITS, docs/limits.md). Null: without a limit."
  type = object({
    open_jobs              = optional(number)
    submissions_per_minute = optional(number)
    vcpu_in_flight         = optional(number)
  })
  default = {}

  validation {
    condition     = alltrue([for limit in values(var.limits) : limit == null ? true : limit >= 0 && limit <= 1000000 && floor(limit) == limit])
    error_message = "limits must be whole numbers from 0 to 1000000."
  }
}

variable "images" {
  description = "Which images run (JENNAH_IMAGE_REGISTRIES, JENNAH_IMAGE_DIGESTS, docs/jobs.md). Default: all."
  type = object({
    registries       = optional(list(string), [])
    digests_required = optional(bool, false)
  })
  default = {}

  validation {
    # The shape of shared/images.py, and Docker's rule for what is a registry.
    condition = alltrue([
      for registry in var.images.registries :
      can(regex("^[a-z0-9]+([._-]+[a-z0-9]+)*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?$", registry)) && can(regex("^([^/]*[.:]|localhost(/|$))", registry))
    ])
    error_message = "images.registries must be registries or paths in them, such as us-docker.pkg.dev/my-project, in lower case and without https://."
  }
}

variable "times" {
  description = "Times that differ from the defaults, in seconds (docs/configuration.md, JENNAH_*_SECONDS). The tick is Cloud Scheduler's, a minute."
  type = object({
    pending_check       = optional(number)
    pending_check_limit = optional(number)
    live_check          = optional(number)
    live_check_limit    = optional(number)
    unconfirmed_check   = optional(number)
    retry_base          = optional(number)
    create_deadline     = optional(number)
    settle_margin       = optional(number)
    delete_age          = optional(number)
    body                = optional(number)
    stream              = optional(number)
    log_pause           = optional(number)
    log_spacing         = optional(number)
    log_delay           = optional(number)
  })
  default = {}

  validation {
    condition     = alltrue([for seconds in values(var.times) : seconds == null ? true : seconds >= 0.001 && seconds <= 86400])
    error_message = "times must be seconds from 0.001 to 86400."
  }

  validation {
    condition     = var.times.body == null ? true : var.times.body <= 60
    error_message = "times.body must be 60 at most: the function ends after 60 s."
  }

  validation {
    # A stream ends before its function is ended.
    condition     = var.times.stream == null ? true : var.times.stream <= 45
    error_message = "times.stream must be 45 at most: the function ends after 60 s, and the last read may take 10."
  }

  validation {
    condition     = var.times.create_deadline == null ? true : var.times.create_deadline <= 45
    error_message = "times.create_deadline must be 45 at most: the function ends after 60 s."
  }
}
