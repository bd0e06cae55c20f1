"""The public shapes of the HTTP API, its methods, and the OpenAPI document that is made of them."""
