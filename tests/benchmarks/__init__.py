"""What the product takes, beside the least that its database, broker and client libraries allow."""

import os

# Before anything imports grpc, which reads it then: that a server has ended, it would say at level INFO.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
