-- When a job is looked at next. The shard spreads the index, which holds only jobs that are owed a check.

ALTER TABLE Jobs ADD COLUMN StatusDetail STRING(MAX);
ALTER TABLE Jobs ADD COLUMN NotBefore TIMESTAMP;
ALTER TABLE Jobs ADD COLUMN NextCheckAt TIMESTAMP;
ALTER TABLE Jobs ADD COLUMN CheckShard INT64 AS (FARM_FINGERPRINT(JobId) & 15) STORED;

CREATE NULL_FILTERED INDEX JobsByNextCheck ON Jobs (CheckShard, NextCheckAt);
