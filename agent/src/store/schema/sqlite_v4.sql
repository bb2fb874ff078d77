-- Version 4: pages of the audit log by client, and the asset that has or had a key. docs/schema.md says what each index
-- is for; it, this file and postgres_v4.sql change together.

CREATE INDEX audit_by_client ON audit (client, time_ms, node, idx);
CREATE INDEX epochs_by_key ON epochs (key_id);
