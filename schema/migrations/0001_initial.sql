-- The first version: tenants, their jobs, and each job's history.

CREATE TABLE Tenants (
  TenantId      STRING(36) NOT NULL,
  UserEmail     STRING(255),
  OAuthProvider STRING(50),
  OAuthUserId   STRING(255),
  CreatedAt     TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  UpdatedAt     TIMESTAMP OPTIONS (allow_commit_timestamp = true),
) PRIMARY KEY (TenantId);

CREATE TABLE Jobs (
  TenantId     STRING(36) NOT NULL,
  JobId        STRING(36) NOT NULL,
  Status       STRING(50) NOT NULL,
  ImageUri     STRING(1024),
  Commands     ARRAY<STRING(MAX)>,
  CreatedAt    TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  UpdatedAt    TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  ScheduledAt  TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  StartedAt    TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  CompletedAt  TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  RetryCount   INT64 DEFAULT (0),
  ErrorMessage STRING(MAX),
) PRIMARY KEY (TenantId, JobId),
  INTERLEAVE IN PARENT Tenants ON DELETE CASCADE;

CREATE TABLE JobStateTransitions (
  TenantId       STRING(36) NOT NULL,
  JobId          STRING(36) NOT NULL,
  TransitionId   STRING(36) NOT NULL,
  FromStatus     STRING(50),
  ToStatus       STRING(50) NOT NULL,
  TransitionedAt TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  Reason         STRING(MAX),
) PRIMARY KEY (TenantId, JobId, TransitionId),
  INTERLEAVE IN PARENT Jobs ON DELETE CASCADE;
