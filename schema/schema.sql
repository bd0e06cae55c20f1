-- The whole current schema of Jennah (Cloud Spanner, GoogleSQL).
-- What each column means stands in README.md; the steps that lead here stand in migrations/.
-- Times that record what the system did are commit timestamps. None of them leads a key or an index.

CREATE TABLE Tenants (
  TenantId          STRING(36) NOT NULL,
  UserEmail         STRING(255),
  OAuthProvider     STRING(50),
  OAuthUserId       STRING(255),
  CreatedAt         TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  UpdatedAt         TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  JobServiceAccount STRING(255),
  Limits            JSON,
  DeletedAt         TIMESTAMP OPTIONS (allow_commit_timestamp = true),
) PRIMARY KEY (TenantId);

-- The identity is the provider with its subject, never the email. NULLs are filtered, so that a tenant made by an
-- operator may wait for its identity.
CREATE UNIQUE NULL_FILTERED INDEX TenantsByIdentity ON Tenants (OAuthProvider, OAuthUserId);

-- Only tenants that are being deleted have a DeletedAt.
CREATE NULL_FILTERED INDEX TenantsByDeletion ON Tenants (TenantId, DeletedAt);

CREATE TABLE Jobs (
  TenantId        STRING(36) NOT NULL,
  JobId           STRING(36) NOT NULL,
  Status          STRING(50) NOT NULL,
  ImageUri        STRING(1024),
  Commands        ARRAY<STRING(MAX)>,
  CreatedAt       TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  UpdatedAt       TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  ScheduledAt     TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  StartedAt       TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  CompletedAt     TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  RetryCount      INT64 DEFAULT (0),
  ErrorMessage    STRING(MAX),
  MaxRetries      INT64 NOT NULL DEFAULT (3),
  GcpBatchJobName STRING(1024),
  Version         INT64 NOT NULL DEFAULT (0),
  Attempt         INT64 NOT NULL DEFAULT (1),
  InfraRetryCount INT64 NOT NULL DEFAULT (0),
  Spec            JSON,
  BatchParent     STRING(1024),
  BatchUid        STRING(255),
  IdempotencyKey  STRING(255),
  RequestHash     STRING(64),
  StatusDetail    STRING(MAX),
  NotBefore       TIMESTAMP,
  NextCheckAt     TIMESTAMP,
  CheckShard      INT64 AS (FARM_FINGERPRINT(JobId) & 15) STORED,
  TraceContext    STRING(55),
  CONSTRAINT JobsStatusIsKnown CHECK (
    Status IN ('PENDING', 'SCHEDULED', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')
  ),
) PRIMARY KEY (TenantId, JobId),
  INTERLEAVE IN PARENT Tenants ON DELETE CASCADE;

CREATE UNIQUE NULL_FILTERED INDEX JobsByIdempotencyKey ON Jobs (TenantId, IdempotencyKey);

-- Only jobs that are owed a check have a NextCheckAt, so the index stays as small as the work in hand.
CREATE NULL_FILTERED INDEX JobsByNextCheck ON Jobs (CheckShard, NextCheckAt);

CREATE INDEX JobsByCreatedAt ON Jobs (TenantId, CreatedAt DESC);

CREATE INDEX JobsByStatus ON Jobs (TenantId, Status, CreatedAt DESC);

CREATE TABLE JobStateTransitions (
  TenantId       STRING(36) NOT NULL,
  JobId          STRING(36) NOT NULL,
  TransitionId   STRING(36) NOT NULL,
  FromStatus     STRING(50),
  ToStatus       STRING(50) NOT NULL,
  TransitionedAt TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  Reason         STRING(MAX),
  Actor          STRING(20),
  Attempt        INT64,
) PRIMARY KEY (TenantId, JobId, TransitionId),
  INTERLEAVE IN PARENT Jobs ON DELETE CASCADE;

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

-- What an operator has switched off. A switch that has no row is on.
CREATE TABLE Switches (
  Name   STRING(50) NOT NULL,
  Paused BOOL NOT NULL,
  Reason STRING(MAX),
  SetAt  TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
) PRIMARY KEY (Name);

CREATE TABLE SchemaMigrations (
  Version   INT64 NOT NULL,
  Name      STRING(255) NOT NULL,
  Checksum  STRING(64) NOT NULL,
  AppliedAt TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
) PRIMARY KEY (Version);
