-- A job's state is fenced by the number of its transitions, and belongs to one of its attempts.

ALTER TABLE Jobs ADD COLUMN Version INT64 NOT NULL DEFAULT (0);
ALTER TABLE Jobs ADD COLUMN Attempt INT64 NOT NULL DEFAULT (1);
ALTER TABLE Jobs ADD COLUMN InfraRetryCount INT64 NOT NULL DEFAULT (0);

-- Version 0 marks a row from before this migration: every row that was written since has Version 1 or more.
UPDATE Jobs SET Attempt = RetryCount + 1 WHERE Version = 0 AND Attempt < RetryCount + 1;

ALTER TABLE Jobs ADD CONSTRAINT JobsStatusIsKnown CHECK (
  Status IN ('PENDING', 'SCHEDULED', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')
);

ALTER TABLE JobStateTransitions ADD COLUMN Actor STRING(20);
ALTER TABLE JobStateTransitions ADD COLUMN Attempt INT64;
