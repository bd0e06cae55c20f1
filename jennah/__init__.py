"""What people run: the command line, the HTTP client, the operator's tools and the local cloud."""
