-- Reconciliation finds the tenants that are being deleted. The index is as small as their number: it leaves out
-- those without a DeletedAt.

CREATE NULL_FILTERED INDEX TenantsByDeletion ON Tenants (TenantId, DeletedAt);
