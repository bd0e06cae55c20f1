"""What all functions share: the lifecycle, the transition module, the use cases, the adapters."""
