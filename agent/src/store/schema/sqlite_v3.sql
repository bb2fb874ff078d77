-- Version 3: pages of the audit log come from an index in their order. docs/schema.md says what each is for; it, this
-- file and postgres_v3.sql change together.

CREATE INDEX audit_by_tenant ON audit (tenant, time_ms, node, idx);

DROP INDEX audit_by_sender;
CREATE INDEX audit_by_sender ON audit (sender, tenant, time_ms, node, idx);

-- Signatures are in neither, so that they cost nothing.
CREATE INDEX audit_by_kind ON audit (kind, time_ms, node, idx) WHERE kind <> 'signed';
CREATE INDEX audit_by_code ON audit (code, time_ms, node, idx) WHERE code IS NOT NULL;
