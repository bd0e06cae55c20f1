-- What is asked of Batch, where, and what became of each attempt.

ALTER TABLE Jobs ADD COLUMN Spec JSON;
ALTER TABLE Jobs ADD COLUMN BatchParent STRING(1024);
ALTER TABLE Jobs ADD COLUMN BatchUid STRING(255);

CREATE TABLE JobAttempts (
  TenantId        STRING(36) NOT NULL,
  JobId           STRING(36) NOT NULL,
  Attempt         INT64 NOT NULL,
  GcpBatchJobName STRING(1024),
  BatchUid        STRING(255),
  ExitCode        INT64,
  Reason          STRING(50),
  Message         STRING(MAX),
  CreatedAt       TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  StartedAt       TIMESTAMP,
  FinishedAt      TIMESTAMP,
  LastIgnored     STRING(MAX),
) PRIMARY KEY (TenantId, JobId, Attempt),
  INTERLEAVE IN PARENT Jobs ON DELETE CASCADE;
