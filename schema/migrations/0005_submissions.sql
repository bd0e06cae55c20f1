-- One submission, one job: the tenant's idempotency key with the hash of what was asked under it.

ALTER TABLE Jobs ADD COLUMN IdempotencyKey STRING(255);
ALTER TABLE Jobs ADD COLUMN RequestHash STRING(64);

CREATE UNIQUE NULL_FILTERED INDEX JobsByIdempotencyKey ON Jobs (TenantId, IdempotencyKey);
CREATE INDEX JobsByCreatedAt ON Jobs (TenantId, CreatedAt DESC);
CREATE INDEX JobsByStatus ON Jobs (TenantId, Status, CreatedAt DESC);
