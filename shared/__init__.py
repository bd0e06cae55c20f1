"""What every function of Jennah shares: the lifecycle, the transition module, the use cases and their adapters."""
