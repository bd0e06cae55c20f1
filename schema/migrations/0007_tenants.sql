-- A tenant is who signed in at which provider; an operator may give it an account for its jobs and limits of its own.

ALTER TABLE Tenants ADD COLUMN JobServiceAccount STRING(255);
ALTER TABLE Tenants ADD COLUMN Limits JSON;
ALTER TABLE Tenants ADD COLUMN DeletedAt TIMESTAMP OPTIONS (allow_commit_timestamp = true);

CREATE UNIQUE NULL_FILTERED INDEX TenantsByIdentity ON Tenants (OAuthProvider, OAuthUserId);
