-- What an operator has switched off. A switch that has no row is on.

CREATE TABLE Switches (
  Name   STRING(50) NOT NULL,
  Paused BOOL NOT NULL,
  Reason STRING(MAX),
  SetAt  TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
) PRIMARY KEY (Name);
