-- The trace that a job belongs to: a notification of Batch names no more than the job, and joins it here.

ALTER TABLE Jobs ADD COLUMN TraceContext STRING(55);
