"""The laptop cloud: emulators, the local Batch service, the test issuer and the supervisor that runs them."""
