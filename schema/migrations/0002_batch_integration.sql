-- A job runs on GCP Batch, and is tried again a bounded number of times.

ALTER TABLE Jobs ADD COLUMN MaxRetries INT64 NOT NULL DEFAULT (3);
ALTER TABLE Jobs ADD COLUMN GcpBatchJobName STRING(1024);
