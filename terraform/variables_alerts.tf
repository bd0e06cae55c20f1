variable "notification_channels" {
  description = "Full names of Monitoring's notification channels that alerts go to (projects/P/notificationChannels/N). Without any, alerts show in the console only."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[0-9]+$", name))])
    error_message = "notification_channels must be full names such as projects/my-project/notificationChannels/1234567890."
  }
}

variable "alerts" {
  description = "When alerts are raised."
  type = object({
    error_ratio             = optional(number, 0.05)
    event_error_ratio       = optional(number, 0.5)
    oldest_unacked_seconds  = optional(number, 900)
    submit_seconds          = optional(number, 2)
    reconciliation_absent_s = optional(number, 600)
  })
  default = {}

  validation {
    condition     = alltrue([for ratio in [var.alerts.error_ratio, var.alerts.event_error_ratio] : ratio > 0 && ratio < 1])
    error_message = "alerts: a ratio must be between 0 and 1."
  }

  validation {
    condition     = var.alerts.oldest_unacked_seconds >= 60 && var.alerts.submit_seconds > 0
    error_message = "alerts: oldest_unacked_seconds must be 60 or more, and submit_seconds more than 0."
  }

  validation {
    condition     = var.alerts.reconciliation_absent_s >= 300 && var.alerts.reconciliation_absent_s <= 84600 && var.alerts.reconciliation_absent_s % 60 == 0
    error_message = "alerts.reconciliation_absent_s must be whole minutes from 300 to 84600 seconds."
  }
}
