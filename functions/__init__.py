"""The doors: one Cloud Function a module, each decodes, calls one use case of `shared`, and answers."""
